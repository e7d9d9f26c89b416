import pytest

import hardware
from api_backends.errors import ConfigurationError
from hardware import devices, nvidia, processor
from hardware.devices import Device, detect_devices, resolve_device
from hardware.nvidia import Gpu
from hardware.processor import Processor

H100 = Gpu("NVIDIA H100", 80 << 30, (9, 0), "GPU-aaaa1111")
T4 = Gpu("Tesla T4", 16 << 30, (7, 5), "GPU-bbbb2222")
CPUINFO = (
    "processor\t: 0\nmodel name\t: Some CPU @ 2GHz\nflags\t\t: fpu avx2 avx512f amx_int8 xyz\n"
)


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(devices, "detect_gpus", lambda: [H100, T4])
    monkeypatch.setattr(devices, "_torch_lacks_cuda", lambda: "")


def test_importing_and_detecting_loads_no_heavy_package(python):
    heavy = python(
        "import sys; before = set(sys.modules)\n"
        "import hardware; loaded = set(sys.modules) - before\n"
        "names = {name.partition('.')[0] for name in loaded}\n"
        "print(sorted(names - set(sys.stdlib_module_names)))\n"
        "hardware.detect_devices()\n"
        "print([name for name in ('torch', 'numpy', 'transformers') if name in sys.modules])"
    )
    assert heavy.splitlines() == ["['hardware']", "[]"]


def test_public_names_are_there_and_no_others():
    for name in hardware.__all__:
        assert getattr(hardware, name) is not None
        assert name in dir(hardware)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = hardware.nonsense


def test_devices_of_this_machine_are_told_with_their_reasons():
    found = detect_devices()
    assert found[0].id == "cpu"
    assert {device.kind for device in found} == {"cpu", "cuda", "openvino"}
    for device in found:
        assert device.available == (not device.reason)
    assert found[0].memory_bytes > 1 << 28


def test_the_processors_flags_are_read_as_the_kernel_writes_them(tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text(CPUINFO + "\nprocessor\t: 1\nflags\t: avx512_bf16\n", encoding="utf-8")
    fields = processor._read_cpuinfo(str(path))
    assert fields["model name"] == "Some CPU @ 2GHz"
    assert "avx512_bf16" not in fields["flags"]
    assert processor._read_cpuinfo(str(tmp_path / "absent")) == {}


@pytest.mark.parametrize(
    ("sets", "precisions"),
    [
        (("avx2", "avx512f"), ("fp32",)),
        (("avx512f", "avx512_bf16"), ("fp32", "bf16")),
        (("amx_tile", "amx_bf16"), ("fp32", "bf16")),
        ((), ("fp32",)),
    ],
)
def test_bf16_is_only_claimed_where_the_processor_has_it(sets, precisions):
    assert Processor("x", 1, sets).precisions == precisions


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("cpu", "cpu"),
        (" CPU ", "cpu"),
        ("cuda", "cuda:0"),
        ("cuda:1", "cuda:1"),
        ("openvino", "openvino:CPU"),
        ("openvino:0", "openvino:CPU"),
        ("OpenVINO:cpu", "openvino:CPU"),
        ("openvino:GPU", "openvino:GPU.0"),
        ("openvino:1", "openvino:GPU.0"),
    ],
)
def test_names_of_devices(two_gpus, monkeypatch, name, found):
    gpu = Device(id="openvino:GPU.0", kind="openvino", name="Arc")
    monkeypatch.setattr(devices, "find_spec", lambda name: object())
    monkeypatch.setattr(devices, "_openvino_accelerators", lambda: (gpu,))
    assert resolve_device(name).id == found


def test_precisions_of_gpus_follow_their_capability(two_gpus):
    assert resolve_device("cuda:0").precisions == ("fp32", "bf16", "fp16")
    assert resolve_device("cuda:1").precisions == ("fp32", "fp16")
    assert resolve_device("cuda:0").memory_bytes == 80 << 30


@pytest.mark.parametrize("name", ["tpu", "cuda:2", "openvino:7", "", "cuda:x", "openvino:TPU"])
def test_an_unknown_device_lists_those_there_are(two_gpus, name):
    with pytest.raises(ConfigurationError, match="this machine has cpu, cuda:0, cuda:1"):
        resolve_device(name)


def test_a_gpu_that_is_not_there_is_a_clear_error(monkeypatch):
    monkeypatch.setattr(devices, "detect_gpus", list)
    for name in ("cuda", "cuda:3"):
        with pytest.raises(ConfigurationError, match="no NVIDIA GPU"):
            resolve_device(name)
    with pytest.raises(ConfigurationError, match="expected a name"):
        resolve_device(3)


@pytest.mark.parametrize(
    ("name", "extra"), [("cpu", "[local]"), ("cuda", "[local]"), ("openvino", "[openvino]")]
)
def test_a_missing_package_names_the_extra(monkeypatch, name, extra):
    monkeypatch.setattr(devices, "find_spec", lambda name: None)
    monkeypatch.setattr(devices, "detect_gpus", lambda: [H100])
    devices._torch_lacks_cuda.cache_clear()
    try:
        with pytest.raises(ConfigurationError) as caught:
            resolve_device(name)
        assert extra in str(caught.value)
        assert not any(device.available for device in detect_devices())
    finally:
        devices._torch_lacks_cuda.cache_clear()


@pytest.mark.parametrize(
    ("text", "lacks"),
    [
        ("cuda: Optional[str] = None\n", True),
        ("cuda = None\nhip = None\n", True),
        ("cuda: Optional[str] = '12.8'\nhip = None\n", False),
    ],
)
def test_a_torch_without_cuda_is_told_from_its_version_file(tmp_path, monkeypatch, text, lacks):
    (tmp_path / "version.py").write_text(text, encoding="utf-8")

    class Spec:
        origin = str(tmp_path / "__init__.py")

    monkeypatch.setattr(devices, "find_spec", lambda name: Spec)
    devices._torch_lacks_cuda.cache_clear()
    try:
        assert ("without CUDA" in devices._torch_lacks_cuda()) == lacks
    finally:
        devices._torch_lacks_cuda.cache_clear()


@pytest.mark.parametrize(
    ("visible", "left"),
    [
        (None, [H100, T4]),
        ("", []),
        ("-1", []),
        ("1", [T4]),
        ("1,0", [T4, H100]),
        ("0,7,1", [H100]),
        ("GPU-bbbb", [T4]),
    ],
)
def test_cuda_visible_devices_is_honoured(monkeypatch, visible, left):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert nvidia._visible([H100, T4]) == left


def test_a_gpu_is_read_from_the_management_library():
    class Library:
        def nvmlDeviceGetHandleByIndex_v2(self, index, handle):  # noqa: N802
            return 0 if index.value == 0 else 2

        def nvmlDeviceGetName(self, handle, name, size):  # noqa: N802
            name.value = b"NVIDIA H100"

        def nvmlDeviceGetUUID(self, handle, uuid, size):  # noqa: N802
            uuid.value = b"GPU-aaaa1111"

        def nvmlDeviceGetMemoryInfo(self, handle, memory):  # noqa: N802
            memory._obj.total = 80 << 30

        def nvmlDeviceGetCudaComputeCapability(self, handle, major, minor):  # noqa: N802
            major._obj.value, minor._obj.value = 9, 0

    assert nvidia._read_gpu(Library(), 0) == H100
    assert nvidia._read_gpu(Library(), 1) is None
