"""Tiny HuBERT, wav2vec 2.0 and WavLM checkpoints, saved by transformers: layers, places, seams,
what is refused.

What chunks can promise, tested below: convolutions with layer norm, to the last digit; with group
norm, up to the chunk's own volume; layers of a transformer, nearer to the whole the more context is
dropped, as attention sees a chunk."""

import hashlib
import json

import numpy as np
import pytest
from pydantic import ValidationError

torch = pytest.importorskip("torch")
pytest.importorskip("av", reason="needs va-search[extract]")
transformers = pytest.importorskip("transformers", reason="needs va-search[extract]")

from va_search.errors import InputError  # noqa: E402
from va_search.extract.sound import Sound, windows  # noqa: E402
from va_search.extract.transformers_audio import TransformersAudio, TransformersAudioSettings  # noqa: E402

TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8, 8, 12),
    "conv_stride": (5, 8, 8),
    "conv_kernel": (10, 8, 10),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "num_feat_extract_layers": 3,
}
STEP, FIELD = 320, 10 + 7 * 5 + 9 * 40
KINDS = {
    "hubert": (transformers.HubertConfig, transformers.HubertModel),
    "wav2vec2": (transformers.Wav2Vec2Config, transformers.Wav2Vec2Model),
    "wavlm": (transformers.WavLMConfig, transformers.WavLMModel),
}
SOUND = (np.random.default_rng(0).normal(size=16_000 * 12) * 0.1).astype(np.float32)


def checkpoint(folder, kind="hubert", norm="layer", **other):
    torch.manual_seed(0)
    config, model = KINDS[kind]
    stable = norm == "layer"
    made = model(config(**TINY | other, feat_extract_norm=norm, do_stable_layer_norm=stable)).eval()
    made.save_pretrained(folder)
    return made


def settings(folder, **other):
    path = folder / "model.safetensors"
    weights = {"path": path, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    return TransformersAudioSettings.model_validate({"weights": weights} | other)


def built(folder, **other):
    extractor = TransformersAudio(settings(folder, **other))
    extractor.prepare()
    return extractor


def by_hand(model, samples, normalise=True):
    """Every layer's rows, caught by hooks on the layers themselves."""
    values = torch.from_numpy(samples).double()
    if normalise:
        values = (values - values.mean()) / torch.sqrt(values.var(unbiased=False) + 1e-7)
    caught = []
    hooks = [
        model.encoder.layers[0].register_forward_pre_hook(lambda _, given: caught.append(given[0]))
    ]
    for layer in model.encoder.layers:
        hooks.append(
            layer.register_forward_hook(
                lambda _, __, out: caught.append(out[0] if isinstance(out, tuple) else out)
            )
        )
    with torch.inference_mode():
        last = model(values.float()[None]).last_hidden_state
    for hook in hooks:
        hook.remove()
    return [state[0].numpy() for state in caught[:-1]] + [last[0].numpy()]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_layers_are_those_of_the_model(kind, norm, tmp_path):
    model = checkpoint(tmp_path, kind, norm)
    expected = by_hand(model, SOUND[:32_000])
    for layer, place in {-1: 3, 3: 3, 0: 0, 1: 1, -3: 1}.items():
        found = built(tmp_path, layer=layer).windows(SOUND[:32_000])
        np.testing.assert_allclose(found.values, expected[place], atol=1e-4)
    found = built(tmp_path, layer=[1, -1]).windows(SOUND[:32_000])
    np.testing.assert_allclose(found.values, (expected[1] + expected[3]) / 2, atol=1e-4)


def test_columns_are_known_before_the_weights_are_loaded(tmp_path):
    checkpoint(tmp_path)
    assert len(TransformersAudio(settings(tmp_path)).columns) == 16
    assert len(TransformersAudio(settings(tmp_path, layer="convolutional")).columns) == 12


def test_a_window_stands_at_the_middle_of_the_samples_it_sees(tmp_path):
    """A click changes exactly the convolutional windows whose field it lies in; they are centred
    around it."""
    checkpoint(tmp_path)
    extractor = built(tmp_path, layer="convolutional", normalise=False)
    assert (extractor.step, extractor.field) == (STEP, FIELD)
    clicked = SOUND[:32_000].copy()
    at = 16_123
    clicked[at] += 0.5
    before, after = extractor.windows(SOUND[:32_000]), extractor.windows(clicked)
    changed = np.abs(after.values - before.values).max(axis=1) > 0
    near = np.abs(before.centres - at / 16_000) < FIELD / 2 / 16_000
    np.testing.assert_array_equal(changed, near)


def test_sound_is_normalised_as_the_checkpoint_says(tmp_path):
    model = checkpoint(tmp_path)
    plain = by_hand(model, SOUND[:16_000], normalise=False)[-1]
    normalised = by_hand(model, SOUND[:16_000])[-1]
    assert np.abs(plain - normalised).max() > 0.01
    np.testing.assert_allclose(
        built(tmp_path).windows(SOUND[:16_000]).values, normalised, atol=1e-4
    )
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False}))
    np.testing.assert_allclose(built(tmp_path).windows(SOUND[:16_000]).values, plain, atol=1e-4)
    np.testing.assert_allclose(
        built(tmp_path, normalise=True).windows(SOUND[:16_000]).values, normalised, atol=1e-4
    )


def chunked(extractor, chunk):
    parts = list(windows(Sound(SOUND, 16_000, 0.0), extractor, chunk))
    return np.concatenate([part.values for part in parts]), np.concatenate(
        [part.centres for part in parts]
    )


def test_convolutions_with_layer_norm_show_no_seams(tmp_path):
    checkpoint(tmp_path, norm="layer")
    extractor = built(tmp_path, layer="convolutional", normalise=False, context=0)
    whole = extractor.windows(SOUND)
    values, centres = chunked(extractor, 2.0)
    np.testing.assert_allclose(centres, whole.centres, atol=1e-9)
    np.testing.assert_allclose(values, whole.values, atol=1e-5)


def test_context_that_is_dropped_brings_chunks_near_to_the_whole(tmp_path):
    """On 12 s in chunks of 2 s, the worst window: under a tenth of the features' spread with 2 s of
    context, more than that without; every window is there once, at its place."""
    checkpoint(tmp_path, norm="layer")
    worst = {}
    for context in (0.0, 2.0):
        extractor = built(tmp_path, normalise=False, context=context)
        whole = extractor.windows(SOUND)
        values, centres = chunked(extractor, 2.0)
        np.testing.assert_allclose(centres, whole.centres, atol=1e-9)
        worst[context] = np.abs(values - whole.values).max() / whole.values.std()
    assert worst[2.0] < 0.1 < worst[0.0]


def test_chunks_of_group_norm_differ_by_the_volume_of_the_chunk(tmp_path):
    """Sound of one volume: within a tenth of the spread. Group norm divides by the chunk's own."""
    checkpoint(tmp_path, norm="group")
    extractor = built(tmp_path, normalise=False, context=2.0)
    whole, (values, centres) = extractor.windows(SOUND), chunked(extractor, 4.0)
    np.testing.assert_allclose(centres, whole.centres, atol=1e-9)
    assert np.abs(values - whole.values).max() / whole.values.std() < 0.1


def test_sound_shorter_than_a_window_has_none(tmp_path):
    checkpoint(tmp_path)
    extractor = built(tmp_path)
    assert extractor.windows(SOUND[: FIELD - 1]).values.shape == (0, 16)
    assert extractor.windows(SOUND[:FIELD]).values.shape == (1, 16)


def test_other_kinds_of_files_are_refused(tmp_path):
    checkpoint(tmp_path)
    digest = "0" * 64
    for name, said in {
        "pytorch_model.bin": "may run code",
        "other.safetensors": "named model.safetensors",
    }.items():
        with pytest.raises(ValidationError, match=said):
            TransformersAudioSettings.model_validate(
                {"weights": {"path": tmp_path / name, "sha256": digest}}
            )


def test_a_checkpoint_that_does_not_fit_its_config_is_refused_not_filled_up(tmp_path):
    """transformers itself would start the missing layer from random numbers and warn."""
    checkpoint(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}))
    with pytest.raises(
        InputError, match=r"model.safetensors: \d+ tensors are missing, among them encoder.layers.3"
    ):
        built(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"hidden_size": 32}))
    with pytest.raises(InputError, match="can't load this checkpoint"):
        built(tmp_path)


def test_a_folder_that_is_no_such_model_is_told(tmp_path):
    checkpoint(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for layer in (4, -5, [1, 9]):
        with pytest.raises(InputError, match="it has layers 0 to 3, counted from the end -1 to -4"):
            TransformersAudio(settings(tmp_path, layer=layer))
    (tmp_path / "config.json").write_text(
        json.dumps(config | {"model_type": "bert", "auto_map": {"AutoModel": "a.B"}})
    )
    with pytest.raises(
        InputError, match=r"config.json: unknown model_type 'bert'.*known: data2vec-audio, hubert"
    ):
        TransformersAudio(settings(tmp_path))
    (tmp_path / "config.json").unlink()
    with pytest.raises(InputError, match=r"config.json: no such file"):
        TransformersAudio(settings(tmp_path))


def test_a_checkpoint_cut_short_is_told(tmp_path):
    checkpoint(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="can't load this checkpoint"):
        built(tmp_path)


def test_the_model_below_a_head_is_taken(tmp_path):
    """A fine-tuned checkpoint, HubertForCTC, holds the model under a prefix."""
    torch.manual_seed(0)
    tuned = transformers.HubertForCTC(
        transformers.HubertConfig(
            **TINY, vocab_size=8, feat_extract_norm="layer", do_stable_layer_norm=True
        )
    )
    tuned.save_pretrained(tmp_path / "tuned")
    tuned.hubert.save_pretrained(tmp_path / "bare")
    found = [built(tmp_path / name).windows(SOUND[:16_000]).values for name in ("tuned", "bare")]
    np.testing.assert_allclose(*found, atol=1e-5)


def test_nothing_that_a_config_could_fetch_or_run_is_followed(tmp_path):
    """Code, kernels, other weights and an adapter beside the checkpoint: the numbers stay those of
    its tensors."""
    checkpoint(tmp_path)
    before = built(tmp_path).windows(SOUND[:16_000]).values
    path = tmp_path / "config.json"
    planted = {
        "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"},
        "attn_implementation": "someone/kernel",
        "_attn_implementation": "someone/kernel",
        "quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True},
        "transformers_weights": "other.safetensors",
        "dtype": "float16",
    }
    path.write_text(json.dumps(json.loads(path.read_text()) | planted))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    (tmp_path / "adapter_config.json").write_text(
        '{"base_model_name_or_path": "someone/model", "peft_type": "LORA"}'
    )
    np.testing.assert_array_equal(built(tmp_path).windows(SOUND[:16_000]).values, before)
    assert not (tmp_path / "ran").exists()


def test_a_changed_config_is_another_definition(tmp_path):
    checkpoint(tmp_path)
    chosen = settings(tmp_path)
    before = chosen.beside()
    assert (
        set(before) == {"config.json", "preprocessor_config.json"}
        and not before["preprocessor_config.json"]
    )
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False}))
    assert chosen.beside() != before


def test_tensors_named_as_older_checkpoints_have_them_are_found(tmp_path):
    """weight_g and weight_v of the convolution that tells places, as the published base models name
    them."""
    from safetensors.torch import load_file, save_file

    checkpoint(tmp_path)
    before = built(tmp_path).windows(SOUND[:16_000]).values
    path = tmp_path / "model.safetensors"
    state = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor
        for name, tensor in load_file(path).items()
    }
    assert any(name.endswith("weight_g") for name in state)
    save_file(state, path)
    np.testing.assert_allclose(built(tmp_path).windows(SOUND[:16_000]).values, before, atol=1e-6)
