import pytest

from nst_spec import cpu


@pytest.mark.parametrize(
    ("flags", "native"),
    [
        ("fpu avx2 avx512f avx512_bf16 amx_tile", True),
        ("fpu avx2 amx_bf16 amx_tile amx_int8", True),
        ("fpu avx2 avx512f avx512_vnni", False),
        ("fpu avx512_bf16x", False),
    ],
)
def test_bfloat16_is_native_where_the_kernel_names_its_instructions(flags, native, tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text(f"processor\t: 0\nmodel name\t: amx_bf16\nflags\t\t: {flags}\nbugs\t\t:\n")
    assert cpu.multiplies_bf16(info) is native


@pytest.mark.parametrize(
    ("flags", "has"),
    [
        ("fpu avx2 avx512f avx512dq avx512cd avx512bw avx512vl", True),
        ("fpu avx2 avx512f avx512cd avx512er avx512pf", False),
        ("fpu avx2", False),
    ],
)
def test_avx512_is_there_where_the_kernel_names_all_of_its_sets(flags, has, tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text(f"flags\t\t: {flags}\n")
    assert cpu.has_avx512(info) is has


def test_a_system_that_does_not_say_has_none(tmp_path):
    assert cpu.multiplies_bf16(tmp_path / "missing") is False
    assert cpu.has_avx512(tmp_path / "missing") is False
