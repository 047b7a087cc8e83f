import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kyara_kedro.errors import UserError
from kyara_kedro.similarity import semantic
from kyara_kedro.similarity.semantic import SemanticSearchOptions, similar_pairs

CPU = SemanticSearchOptions(device="cpu")
TIE = 1e-13
"""Two sums of the same products in double precision may differ by this."""


def expected(vectors, threshold):
    """Cosines of all pairs that reach a threshold, in double precision, and of those in doubt."""
    exact = vectors.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1)
    _, firsts, inverse = np.unique(vectors + 0.0, axis=0, return_index=True, return_inverse=True)
    leaders = firsts[inverse.reshape(-1)]
    sure, doubtful = {}, set()
    for one in range(len(vectors)):
        for other in range(one + 1, len(vectors)):
            if not (lengths[one] and lengths[other]):
                continue
            if leaders[other] == one:
                sure[one, other] = 1.0
            elif leaders[one] == one and leaders[other] == other:
                cosine = exact[one] @ exact[other] / (lengths[one] * lengths[other])
                if cosine >= threshold + TIE:
                    sure[one, other] = cosine
                elif cosine >= threshold - TIE:
                    doubtful.add((one, other))
    return sure, doubtful


def check(vectors, threshold, options=CPU):
    found = similar_pairs(vectors, threshold, options)
    keys = list(zip(found.pairs.left.tolist(), found.pairs.right.tolist(), strict=True))
    likeness = dict(zip(keys, found.pairs.similarity.tolist(), strict=True))
    sure, doubtful = expected(vectors, threshold)
    assert keys == sorted(set(keys))
    assert likeness.keys() - doubtful == sure.keys()
    for key, cosine in sure.items():
        assert likeness[key] == pytest.approx(cosine, abs=2e-5)
    assert found.recall == 1


def clustered(rng, rows, dimensions, spread):
    centres = rng.normal(size=(max(1, rows // 12), dimensions))
    near = centres[rng.integers(0, len(centres), rows)]
    return near + rng.normal(size=(rows, dimensions)) * rng.uniform(0, spread, (rows, 1))


def near_threshold(rng, rows, dimensions, threshold):
    """Rows in pairs whose cosine is the threshold but for some 1e-7."""
    one = rng.normal(size=(rows // 2 + 1, dimensions))
    one /= np.linalg.norm(one, axis=1, keepdims=True)
    away = rng.normal(size=one.shape)
    away -= one * np.einsum("ij,ij->i", one, away)[:, None]
    away /= np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-12)
    cosine = np.clip(threshold + rng.uniform(-1e-7, 1e-7, (len(one), 1)), -1, 1)
    other = one * cosine + away * np.sqrt(1 - cosine**2)
    return np.concatenate([one, other])[:rows]


@st.composite
def tables(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = draw(st.sampled_from([0, 1, 2, 3, 40, 130]))
    dimensions = draw(st.sampled_from([1, 2, 3, 8, 70, 130]))
    threshold = draw(st.sampled_from([0.001, 0.3, 0.8, 0.9, 0.95, 0.999, 1.0]))
    kind = draw(st.sampled_from(["random", "clustered", "close", "near"]))
    if kind == "random":
        vectors = rng.normal(size=(rows, dimensions))
    elif kind == "near":
        vectors = near_threshold(rng, rows, dimensions, threshold)
    else:
        vectors = clustered(rng, rows, dimensions, 1.0 if kind == "clustered" else 0.05)
    if draw(st.booleans()):
        vectors = vectors * 10.0 ** rng.uniform(-8, 8, (rows, 1))
    vectors = np.asarray(vectors, np.float32)
    if rows > 2 and draw(st.booleans()):
        vectors[rng.integers(0, rows, rows // 3)] = vectors[rng.integers(0, rows, rows // 3)]
        vectors[rng.integers(0, rows, 2)] = 0
    return vectors, threshold


@pytest.fixture(params=["numpy", "bytes"])
def kernel(request, monkeypatch):
    if request.param == "bytes" and not semantic._multiplies_bytes():
        pytest.skip("this CPU, or its torch, has no instructions for products of bytes")
    monkeypatch.setattr(semantic, "_multiplies_bytes", lambda: request.param == "bytes")


@pytest.fixture(params=["whole", "pruned"])
def pruning(request, monkeypatch):
    """Clusters, groups and tiles of a few rows."""
    if request.param == "pruned":
        monkeypatch.setattr(semantic, "_PRUNED_FROM", 0)
        monkeypatch.setattr(semantic, "_ROWS_A_CLUSTER", 9)
        monkeypatch.setattr(semantic, "_TILE", (8, 16))
        monkeypatch.setattr(semantic, "_DIMENSIONS", (2, 4, 64))
        monkeypatch.setattr(semantic, "_PAIR_COST", 1)


@pytest.mark.usefixtures("kernel", "pruning")
@given(tables())
@settings(deadline=None, max_examples=60)
def test_finds_what_double_precision_finds(table):
    check(*table)


@pytest.mark.usefixtures("kernel")
def test_many_rows_in_many_clusters(monkeypatch):
    monkeypatch.setattr(semantic, "_PRUNED_FROM", 500)
    monkeypatch.setattr(semantic, "_ROWS_A_CLUSTER", 60)
    monkeypatch.setattr(semantic, "_TILE", (32, 64))
    vectors = clustered(np.random.default_rng(3), 1_200, 96, 0.5).astype(np.float32)
    left = []
    columns = semantic._Search._columns

    def counted(search, start, end):
        found = columns(search, start, end)
        left.append(len(found) / (len(search._own) - start))
        return found

    monkeypatch.setattr(semantic._Search, "_columns", counted)
    check(vectors, 0.9)
    assert np.mean(left) < 0.7


@pytest.mark.parametrize("scale", [1e-42, 1e-20, 1e20, 3e37])
def test_vectors_of_any_length(scale):
    vectors = (clustered(np.random.default_rng(1), 40, 8, 0.3) * scale).astype(np.float32)
    check(vectors, 0.9)


@pytest.mark.parametrize(
    "tail", [0.0, 1e-4, 1e-3, 3e-3], ids=lambda length: f"all but {length} within the axes"
)
def test_a_short_rest_times_a_long_one_is_not_lost(tail, monkeypatch):
    """One row almost within the axes that are kept, one far out of them, at the threshold."""
    coding = semantic._Coding.along(np.eye(9)[:, :4])
    monkeypatch.setattr(semantic, "_coding", lambda *_: coding)
    monkeypatch.setattr(semantic, "_multiplies_bytes", lambda: False)
    one = np.array([np.sqrt(1 - tail**2), 0, 0, 0, tail, 0, 0, 0, 0])
    other = np.array([0.6, 0, 0, 0, 0.8, 0, 0, 0, 0])
    vectors = np.stack([one, other]).astype(np.float32)
    exact = vectors.astype(np.float64)
    cosine = exact[0] @ exact[1] / np.prod(np.linalg.norm(exact, axis=1))
    assert len(similar_pairs(vectors, float(cosine) - 1e-12, CPU).pairs.left) == 1


def test_angles_in_bytes_never_part_what_is_alike():
    rng = np.random.default_rng(5)
    centre = np.zeros((1, 16), np.float32)
    centre[0, 0] = 1
    angles = np.concatenate([rng.uniform(0, np.pi, 20_000), rng.uniform(0, 0.03, 20_000)])
    side = rng.normal(size=(len(angles), 15))
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    units = np.column_stack([np.cos(angles), side * np.sin(angles)[:, None]]).astype(np.float32)
    steps = semantic._angles(units, centre)[:, 0].astype(float)
    error = steps - angles * semantic._STEPS
    assert error.max() - error.min() < 2


def test_a_file_mapped_into_memory(tmp_path):
    vectors = clustered(np.random.default_rng(2), 60, 12, 0.3).astype(np.float32)
    mapped = np.memmap(tmp_path / "vectors", np.float32, "w+", shape=vectors.shape)
    mapped[:] = vectors
    check(np.memmap(tmp_path / "vectors", np.float32, "r", shape=vectors.shape), 0.9)


def test_equal_rows_are_paired_with_the_first_alone():
    vectors = np.array([[1, 0], [1, 0.1], [1, 0], [1, 0], [0, 0], [0, 0]], np.float32)
    found = similar_pairs(vectors, 0.9, CPU).pairs
    pairs = list(zip(found.left.tolist(), found.right.tolist(), strict=True))
    assert pairs == [(0, 1), (0, 2), (0, 3)]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named(value):
    vectors = np.ones((5_000, 3), np.float32)
    vectors[4_321, 1] = value
    with pytest.raises(UserError, match=r"vector 4321 .* not finite"):
        similar_pairs(vectors, 0.9, CPU)


@pytest.mark.parametrize("probes", [1, 3, 1_000])
def test_approximate_mode_tells_its_recall(probes, monkeypatch):
    monkeypatch.setattr(semantic, "_ROWS_A_CLUSTER", 10)
    vectors = clustered(np.random.default_rng(4), 240, 6, 0.9).astype(np.float32)
    options = SemanticSearchOptions(mode="approximate", probes=probes, device="cpu")
    found = similar_pairs(vectors, 0.8, options)
    sure, _ = expected(vectors, 0.8)
    pairs = set(zip(found.pairs.left.tolist(), found.pairs.right.tolist(), strict=True))
    assert pairs <= sure.keys()
    # all 240 rows are in the sample that is measured
    assert found.recall == pytest.approx(len(pairs) / len(sure))
    assert (found.recall < 1) == (probes < 1_000)


def test_cuda_where_there_is_none(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="no CUDA device; set it to cpu"):
        similar_pairs(np.ones((3, 2), np.float32), 0.9, SemanticSearchOptions(device="cuda"))


@given(tables())
@settings(deadline=None, max_examples=40)
def test_what_a_gpu_runs_finds_the_same(table):
    """The same operations, on tensors of the CPU."""
    pytest.importorskip("torch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(semantic, "_device", lambda _: "cuda")
        patch.setattr(semantic, "_kernel", lambda shape, _: semantic._DeviceKernel(shape, "cpu"))
        check(*table)
