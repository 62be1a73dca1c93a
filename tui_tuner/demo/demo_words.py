"""The vocabulary of the demo, made up for it: words of the pretraining text and of the advertising task.

Every attribute value is one word in lower case and belongs to one key only, so a reader can check an answer
word by word. The last `HELD_OUT` share of each list is kept out of the fine-tuning rows: an answer with those
values was copied and not memorised.
"""

from __future__ import annotations

HELD_OUT = 0.2


def split_words(text: str) -> tuple[str, ...]:
    """Return the words of a text that lists them."""
    return tuple(text.split())


ATTRIBUTES: dict[str, tuple[str, ...]] = {
    key: split_words(words)
    for key, words in {
        "type": """
            coat scarf jacket shirt dress skirt hat cap bag belt sweater vest cardigan blouse hoodie cape
            robe apron backpack wallet blanket pillow curtain towel rug lamp chair bench vase mug bowl
            kettle tray basket clock mirror shelf table stool quilt tent kite drum flute puzzle candle
            teapot purse tunic poncho""",
        "colour": """
            red blue green yellow black white grey brown pink purple orange golden silver crimson scarlet
            turquoise violet beige ivory cream navy teal maroon olive lavender coral mint peach ruby
            emerald amber indigo lilac mustard khaki""",
        "material": """
            wool cotton linen silk leather denim velvet cashmere fleece canvas bamboo oak walnut glass
            steel copper brass clay stone cork wicker felt satin pine maple marble paper tin corduroy
            mohair rattan porcelain""",
        "pattern": """
            striped checked dotted floral plain paisley tartan zigzag wavy starry speckled marbled leafy
            woven quilted braided diamond spiral houndstooth herringbone geometric tropical dappled
            chequered""",
        "style": """
            classic modern vintage rustic elegant casual sporty romantic minimal bold playful nordic
            urban formal bohemian retro nautical royal simple country coastal baroque gothic futuristic""",
        "detail": """
            pockets buttons zips hoods collars ribbons fringes buckles laces tassels pearls beads bows
            handles hinges wheels straps cuffs pleats ruffles sequins rivets bells clasps""",
        "occasion": """
            picnics weddings parties journeys concerts birthdays holidays dinners festivals meetings walks
            dances hikes reunions breakfasts barbecues carnivals lectures sunsets camping regattas
            recitals""",
        "quality": """
            soft light warm sturdy durable cosy gentle smooth bright quiet strong flexible washable
            breathable foldable waterproof spacious precious delicate handy reliable weightless seamless
            rugged""",
        "audience": """
            travellers dancers students gardeners painters sailors teachers bakers runners poets farmers
            children parents readers doctors singers cyclists grandmothers skaters pilots beekeepers
            magicians astronomers potters""",
    }.items()
}

NAMES = split_words(
    """
    Ada Ben Clara David Emma Felix Greta Hugo Ida Jonas Kira Leo Mira Nils Olga Paul Quinn Rosa Simon Tara Uma
    Victor Wanda Xenia Yusuf Zoe Anton Bella Carlos Dora Elias Fiona Gustav Hanna Igor Julia Karim Lena Marco
    Nora Oscar Petra Ravi Sofia Tom Ursula Vera Walter Yara Zeno"""
)

THINGS = split_words(
    """
    key coin letter book pen cup spoon fork knife plate bell ring rope ladder hammer needle thread shell
    feather pebble acorn button map compass lantern whistle ball doll box jar bottle brush comb violin
    guitar camera ticket stamp ribbon flag wheel nail rake shovel broom bucket apple pear plum lemon cherry
    onion carrot bean walnut biscuit loaf cheese"""
)

PLACES = split_words(
    """
    garden kitchen attic cellar market harbour library station school museum barn mill tower bridge forest
    meadow island village castle theatre bakery workshop office cabin square park beach valley"""
)

ANIMALS = split_words(
    """
    cat dog horse owl fox bear rabbit duck goose hen sheep goat mouse crow hare badger otter swan donkey
    hedgehog"""
)

NUMBERS = split_words("two three four five six seven eight nine ten eleven twelve")

DAYS = split_words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")

KEYS = tuple(ATTRIBUTES)
VALUES = tuple(value for values in ATTRIBUTES.values() for value in values)


def list_trained_values(key: str) -> tuple[str, ...]:
    """List the values of a key that the fine-tuning rows use."""
    values = ATTRIBUTES[key]
    return values[: len(values) - round(HELD_OUT * len(values))]


def list_held_out_values(key: str) -> tuple[str, ...]:
    """List the values of a key that only the held-out rows use."""
    return ATTRIBUTES[key][len(list_trained_values(key)) :]
