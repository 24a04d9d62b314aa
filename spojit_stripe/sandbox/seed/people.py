"""Who buys: names, places, currencies, cards and the shops that orders come from."""

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Market:
    """Where customers live and what they pay in: a typical price in minor units, and how many there are."""

    country: str
    currency: str
    price: int
    weight: int
    cities: tuple[str, ...]
    streets: tuple[str, ...]
    first: tuple[str, ...]
    last: tuple[str, ...]


def _market(country: str, currency: str, price: int, weight: int, *names: str) -> Market:
    cities, streets, first, last = (tuple(each.split(", ")) for each in names)
    return Market(country, currency, price, weight, cities, streets, first, last)


MARKETS = (
    _market(
        "US",
        "usd",
        2_000,
        50,
        "Springfield, Portland, Austin, Madison",
        "Main Street, Oak Avenue, Mill Lane",
        "Ada, Grace, Katherine, Omar, Maria, James, Wei, Radia",
        "Baker, Johnson, Garcia, Nguyen, Miller, Okafor, Lovelace",
    ),
    _market(
        "DE",
        "eur",
        1_900,
        12,
        "Berlin, Köln, Leipzig",
        "Hauptstraße, Bahnhofstraße, Gartenweg",
        "Jürgen, Anna, Fatima, Lukas, Käthe",
        "Fischer, Schmidt, Müller, Yılmaz, Weiß",
    ),
    _market(
        "FR",
        "eur",
        2_100,
        8,
        "Lyon, Nantes, Paris",
        "rue de la Gare, avenue Victor Hugo",
        "Chloé, Émile, Inès, Noé",
        "Dubois, Lefèvre, Moreau, Benali",
    ),
    _market(
        "GB",
        "gbp",
        1_700,
        15,
        "London, Leeds, Bristol",
        "High Street, Station Road, Church Lane",
        "Alan, Hedy, Noor, Siobhán, Tim",
        "Jones, Patel, Smith, Evans, Turing",
    ),
    _market(
        "JP",
        "jpy",
        2_900,
        10,
        "Osaka, Tokyo, Sapporo",
        "Chuo, Kita, Minami",
        "Jun, Mai, Hana, 健, さくら",
        "Kimura, Nakamura, Sato, 田中, 山本",
    ),
    _market(
        "KW",
        "kwd",
        6_000,
        5,
        "Kuwait City, Hawalli",
        "Gulf Road, Salem Street",
        "Amal, Yousef, نورة",
        "Haddad, Al-Sabah, العنزي",
    ),
)

PRODUCTS = (("Notebook", 1), ("Team plan", 2), ("Archive", 3), ("Workshop", 8))
CARDS = ("visa", "visa", "mastercard", "visa_debit", "amex")
FAILING = "chargeCustomerFail"


@dataclass(frozen=True)
class Person:
    """One customer: where they live, their card, and the texts of their objects."""

    number: int
    market: Market
    card: str
    texts: dict[str, bytes]


def person(number: int, pick: random.Random) -> Person:
    """The customer with this number; the same one each time."""
    market = pick.choices(MARKETS, [each.weight for each in MARKETS])[0]
    first, last = pick.choice(market.first), pick.choice(market.last)
    handle = f"{first}.{last}".lower()
    name = f"{first} {last}"
    if not handle.isascii():
        handle = f"customer.{number}"
    texts = {
        "name": name,
        "email": f"{handle.replace(' ', '.')}.{number}@example.com",
        "country": market.country,
        "city": pick.choice(market.cities),
        "street": f"{pick.randint(1, 120)} {pick.choice(market.streets)}",
        "code": f"C{number:05d}",
        "tier": pick.choice(("free", "silver", "gold")),
        "currency": market.currency,
    }
    card = FAILING if pick.random() < 0.06 else pick.choice(CARDS)
    return Person(number, market, card, {key: value.encode() for key, value in texts.items()})
