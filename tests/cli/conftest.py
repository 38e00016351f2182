import pytest

from nst.cli import main


@pytest.fixture
def nst(capsys, tmp_path, monkeypatch):
    """Run a command line in an empty folder: nst('photo.jpg', ...) -> (exit code, stdout, stderr)."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return run
