"""What Hugging Face's `tokenizers` makes of text: ids under many split patterns, added tokens and
normalizers, the merges its trainer learns, the characters its regular expressions know."""

import json
import pathlib
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers import decoders, models, normalizers, trainers
from tokenizers import pre_tokenizers as pre

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import make_unicode_tables  # noqa: E402

REQUIRES = "tokenizers"

ENGLISH = (
    "In the beginning God created the heaven and the earth. And the earth was without form, and "
    "void; and darkness was upon the face of the deep.\nAnd God said, Let there be light: and "
    "there was light.\nAnd the evening and the morning were the first day.\n"
)
TEXT = ENGLISH * 3 + (
    "They don't, we'll, I'm, you've, he'd, it's. DON'T! SHE'LL?\n\n"
    "for (int i = 0; i < 1024; ++i) {\n    sum += x[i] * y[i];  // 3.14159\n}\r\n\r\n\tif x:\n\n\n"
    "Im Anfang schuf Gott Himmel und Erde. Größe, Straße, naïve café, señor, Ærø, Łódź.\n"
    "В начале сотворил Бог небо и землю. И сказал Бог: да будет свет.\n"
    "Ἐν ἀρχῇ ἐποίησεν ὁ Θεὸς τὸν οὐρανὸν καὶ τὴν γῆν.\n"
    "בְּרֵאשִׁית בָּרָא אֱלֹהִים אֵת הַשָּׁמַיִם וְאֵת הָאָרֶץ׃\n"
    "في البدء خلق الله السماوات والأرض. ١٢٣٤٥٦٧٨٩٠\n"
    "起初，神创造天地。地是空虚混沌，渊面黑暗；神的灵运行在水面上。\n"
    "初めに、神は天地を創造された。地は混沌であって、カタカナも。\n"
    "태초에 하나님이 천지를 창조하시니라\n"
    "आदि में परमेश्वर ने आकाश और पृथ्वी की सृष्टि की। १२३\n"
    "👩‍👩‍👧‍👦 🏳️‍🌈 😀😁 ∑∏√∞ ¼½¾ ²³ Ⅷ ⓐ 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐍈\n"
)

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLADA = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|"
    r"\s+(?!\S)|\s+"
)
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
KIMI = (
    r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*"
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK = (
    r"\p{N}{1,3}",
    r"[一-龥぀-ゟ゠-ヿ]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"
    r" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
ODD = r"(?i:th|AND|[k-m]+)|\p{N}{2,3}+|[a-c[x-z]&&[^b]]++|\p{^L}\W?|x{,2}y|(?:ab)*?c|\R"


def split(pattern, behavior="isolated", invert=False):
    return pre.Split(Regex(pattern), behavior, invert=invert)


def byte_level(use_regex=False, add_prefix_space=False):
    return pre.ByteLevel(use_regex=use_regex, add_prefix_space=add_prefix_space)


def added_tokens(overlapping=False):
    """(special ones, others)"""
    names = ("<|endoftext|>", "<|mdm_mask|>", "<|pad|>")
    special = [AddedToken(n, special=True, normalized=False) for n in names]
    if not overlapping:
        return special, []
    special += [
        AddedToken("<mask>", special=True, normalized=False, lstrip=True),
        AddedToken("<r>", special=True, normalized=False, rstrip=True),
        AddedToken("<|end|>", special=True, normalized=True),
    ]
    return special, [
        AddedToken("foo", single_word=True),
        AddedToken("foobar"),
        AddedToken("foob", normalized=False),
        AddedToken("  ", normalized=False),
        AddedToken("\n\n", normalized=True),
        AddedToken("é", normalized=True),
        AddedToken("<|end", normalized=False),
        AddedToken("light of", rstrip=True, lstrip=True, single_word=True),
        AddedToken("ab c", normalized=False),
        AddedToken("don", normalized=True),
    ]


VARIANTS = {
    "gpt2": dict(pre=byte_level(True)),
    "gpt2_prefix": dict(pre=byte_level(True, True)),
    "gpt2_added": dict(pre=byte_level(True), overlapping=True),
    "llama3": dict(pre=pre.Sequence([split(LLAMA3), byte_level()]), ignore_merges=True),
    "llama3_added": dict(pre=pre.Sequence([split(LLAMA3), byte_level()]), overlapping=True),
    "llada": dict(pre=pre.Sequence([split(LLADA), byte_level()])),
    "nfc": dict(pre=pre.Sequence([split(LLADA), byte_level()]), nfc=True, overlapping=True),
    "o200k": dict(pre=pre.Sequence([split(O200K), byte_level()])),
    "kimi": dict(pre=pre.Sequence([split(KIMI), byte_level()])),
    "deepseek": dict(pre=pre.Sequence([*map(split, DEEPSEEK), byte_level()])),
    "bloom": dict(pre=pre.Sequence([split(BLOOM), byte_level()])),
    "digits": dict(pre=pre.Sequence([pre.Digits(True), byte_level(True)])),
    "digit_runs": dict(pre=pre.Sequence([pre.Digits(False), byte_level(True, True)])),
    "removed": dict(pre=pre.Sequence([split(r"\s+", "removed"), byte_level(False, True)])),
    "removed_inverted": dict(
        pre=pre.Sequence([split(r"\w+|[^\w\s]+", "removed", True), byte_level()])
    ),
    "merged_with_previous": dict(
        pre=pre.Sequence([split(r"[\p{P}\s]", "merged_with_previous"), byte_level()])
    ),
    "merged_with_next": dict(
        pre=pre.Sequence([split(r"\s", "merged_with_next"), byte_level()])
    ),
    "contiguous": dict(pre=pre.Sequence([split(r"\d", "contiguous"), byte_level()])),
    "string": dict(pre=pre.Sequence([pre.Split(" ", "merged_with_previous"), byte_level()])),
    "look_around": dict(
        pre=pre.Sequence([split(r"(?<=[a-z])(?=[A-Z])|\b|(?<!\d)\."), byte_level()])
    ),
    "odd": dict(pre=pre.Sequence([split(ODD), byte_level()])),
    "no_pattern": dict(pre=byte_level()),
}
SPACES = "\t\n\x0b\x0c\r \x1c\x1f\x85\xa0\u1680\u180e\u2003\u2028\u202f\u205f\u3000\u200b\u200d\ufeff"
FRAGMENTS = (
    ["<|endoftext|>", "<|mdm_mask|>", "<|pad|>", "<mask>", "<r>", "<|end|>", "<|end", "foo", "ab c"]
    + ["foobar", "  ", "\n\n", "é", "e\u0301", "light of", "don", "don't", "'S", "'ſ", "'lL", "\u212a"]
    + ["x = 10;  \r\n", "\u1e9b\u0323", "가\u11a8", "\u1100\u1161", "\u0344", "\U0001f468\u200d"]
)


def random_texts(rng, n):
    alphabet = sorted(set(TEXT))
    def piece():
        kind = rng.randrange(6)
        if kind == 0:
            return "".join(rng.choice(SPACES) for _ in range(rng.randint(1, 4)))
        if kind == 1:
            return rng.choice(" \n") * rng.choice((1, 2, 3, 9))
        if kind == 2:
            start = rng.randrange(len(TEXT) - 40)
            return TEXT[start : start + rng.randint(1, 40)]
        if kind == 3:
            return rng.choice(FRAGMENTS)
        if kind == 4:
            points = [rng.choice((rng.randrange(0x250), rng.randrange(0xd800),
                                  rng.randrange(0x1f300, 0x1fb00), rng.randrange(0xe000, 0x20000)))
                      for _ in range(rng.randint(1, 5))]
            return "".join(map(chr, points))
        return "".join(rng.choice(alphabet) for _ in range(rng.randint(1, 12)))
    return ["".join(piece() for _ in range(rng.randint(1, 8))) for _ in range(n)]


def normalization_cases(rng):
    marks = [chr(c) for c in (*range(0x300, 0x370), 0x5b4, 0x5bc, 0x64b, 0x93c, 0x1dc0, 0x20d0)]
    starters = [chr(c) for c in (*range(0x41, 0x7b), 0xc5, 0x1ea5, 0x3b1, 0x1f00, 0x1100, 0x1161,
                                 0x11a8, 0xac00, 0xac01, 0x2126, 0xfb1d, 0x2fa1d, 0x1d15e)]
    nfc = normalizers.NFC().normalize_str
    result = []
    for _ in range(300):
        text = "".join(
            rng.choice(starters) + "".join(rng.choice(marks) for _ in range(rng.randrange(4)))
            for _ in range(rng.randint(1, 3))
        )
        result.append([text, nfc(text)])
    return result


def variant(base, name, options):
    tokenizer = Tokenizer.from_str(base)
    tokenizer.pre_tokenizer = options["pre"]
    if options.get("nfc"):
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.model.ignore_merges = options.get("ignore_merges", False)
    special, others = added_tokens(options.get("overlapping", False))
    tokenizer.add_special_tokens(special)
    tokenizer.add_tokens(others)
    return tokenizer


def make(folder):
    rng = random.Random(5)
    base = Tokenizer(models.BPE())
    base.pre_tokenizer = VARIANTS["llama3"]["pre"]
    base.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=520, show_progress=False,
                                  initial_alphabet=pre.ByteLevel.alphabet())
    base.train_from_iterator([TEXT], trainer)
    model = json.loads(base.to_str())["model"]

    variants, cases = {}, []
    for name, options in VARIANTS.items():
        tokenizer = variant(base.to_str(), name, options)
        file = json.loads(tokenizer.to_str())
        for key in ("vocab", "merges"):  # the same in all
            assert file["model"].pop(key) == model[key]
        variants[name] = file
        for text in [TEXT[600:1500], *random_texts(rng, 20)]:
            case = dict(variant=name, text=text)
            for key, as_text in (("ids", False), ("ids_as_text", True)):
                tokenizer.encode_special_tokens = as_text
                case[key] = tokenizer.encode(text, add_special_tokens=False).ids
            if case["ids_as_text"] == case["ids"]:
                del case["ids_as_text"]
            case["decoded"] = tokenizer.decode(case["ids"], skip_special_tokens=False)
            cases.append(case)

    trained = {}
    for name in ("gpt2", "llama3"):
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = VARIANTS[name]["pre"]
        trainer = trainers.BpeTrainer(vocab_size=700, min_frequency=2, show_progress=False,
                                      initial_alphabet=pre.ByteLevel.alphabet())
        tokenizer.train_from_iterator([TEXT], trainer)
        trained[name] = [" ".join(m) for m in json.loads(tokenizer.to_str())["model"]["merges"]]

    classes = {}
    for pattern in (r"\s", r"\w", r"\d", r"\p{L}", r"\p{N}", r"\p{M}", r"\p{P}", r"\p{S}",
                    r"\p{Lu}", r"\p{Ll}", r"\p{Han}", r"\p{Hiragana}", r"\p{Z}"):
        found = make_unicode_tables.members(pattern)
        classes[pattern] = [len(found), sum(found)]

    content = dict(text=TEXT, vocab=model["vocab"], merges=model["merges"], variants=variants,
                   cases=cases, trained=trained, classes=classes, nfc=normalization_cases(rng))
    with open(folder / "tokenizer.json", "w", encoding="utf-8") as out:
        json.dump(content, out, ensure_ascii=False, separators=(",", ":"))
        out.write("\n")
