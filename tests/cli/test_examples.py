import socket

import numpy as np
import pytest
import pytest_socket
from PIL import Image

from nst import examples
from nst.examples import draw


def test_the_examples_are_what_the_script_draws(tmp_path):
    draw.main(tmp_path)
    for path in (examples.CONTENT, *examples.STYLES.values()):
        shipped, drawn = (np.asarray(Image.open(file), float) for file in (path, tmp_path / path.name))
        # Libraries may round differently; another picture would differ by tens of levels.
        assert shipped.shape == drawn.shape
        assert np.abs(shipped - drawn).mean() < 2, path.name
        assert shipped.std() > 30, path.name


def test_the_tests_cannot_reach_the_network():
    with pytest.raises(pytest_socket.SocketConnectBlockedError), socket.socket() as connection:
        connection.connect(("192.0.2.1", 80))
