"""Recipes against the published programs: each system's own code, retyped, on the same weights and pixels."""

import numpy as np
import pytest

from nst_spec import backend as backends
from nst_spec import preprocessing, vgg19
from tests.conftest import NARROW, make_problem, smooth_image

CONTENT, STYLE, IMAGE = (smooth_image(40, 56, seed) for seed in (1, 2, 3))


def judge(name, weights, backend_name="reference", **settings):
    problem = make_problem(name, weights, CONTENT, STYLE, **settings)
    return backends.load(backend_name, dtype="float64").objective(problem).evaluate(IMAGE)


def check_agreement(evaluation, total, gradient):
    assert evaluation.losses.total == pytest.approx(float(total), rel=1e-11)
    np.testing.assert_allclose(evaluation.gradient, gradient, rtol=0, atol=1e-11 * np.abs(gradient).max())
    assert np.abs(gradient).max() > 0


# --- the PyTorch programs ---------------------------------------------------------------------------------------------


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def torchvision_features(weights, inplace=True):
    """models.vgg19().features in float64, its ReLUs in place as torchvision builds them."""
    import torch
    from torchvision.models.vgg import make_layers

    widths = iter(NARROW)
    configuration = []
    for count in (2, 2, 4, 4, 4):
        configuration += [next(widths)] * count + ["M"]
    features = make_layers(configuration).double()
    for name in vgg19.CONVOLUTIONS:
        layer = features[vgg19.torchvision_index(name)]
        layer.weight.data = torch.tensor(weights.arrays[f"{name}.weight"], dtype=torch.float64)
        layer.bias.data = torch.tensor(weights.arrays[f"{name}.bias"], dtype=torch.float64)
    for module in features.modules():
        if isinstance(module, torch.nn.ReLU):
            module.inplace = inplace
    return features.requires_grad_(False)


def tensor(image):
    import torch

    return torch.tensor(image).permute(2, 0, 1)[None].contiguous()


def normalised(x):
    import torch

    mean, std = (
        torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    return (x - mean) / std


def differentiate(loss_of):
    import torch

    image = tensor(IMAGE).requires_grad_()
    total = loss_of(image)
    (gradient,) = torch.autograd.grad(total, image)
    return total.detach(), gradient[0].permute(1, 2, 0).numpy()


def stored(model, x, indices):
    features = []
    for layer_num, layer in enumerate(model):
        x = layer(x)
        if layer_num in indices:
            features.append(x)
    return features


def raw_gram(torch, features):
    _, channel, height, width = features.shape
    return torch.mm(features.view(channel, height * width), features.view(channel, height * width).t())


def test_pytorch_blog(torch, narrow_weights):
    model = torchvision_features(narrow_weights)[:29]
    alpha, beta = 1, 0.01

    def loss_of(image):
        originals = [stored(model, x, [0, 5, 10, 19, 28]) for x in (image.clone(), tensor(CONTENT), tensor(STYLE))]
        content_loss = style_loss = 0
        for gen, cont, style in zip(*originals, strict=True):
            content_loss += torch.mean((gen - cont) ** 2)
            style_loss += torch.mean((raw_gram(torch, gen) - raw_gram(torch, style)) ** 2)
        return alpha * content_loss + beta * style_loss

    check_agreement(judge("pytorch-blog", narrow_weights), *differentiate(loss_of))


def test_udacity2018(torch, narrow_weights):
    layers = {0: "conv1_1", 5: "conv2_1", 10: "conv3_1", 19: "conv4_1", 21: "conv4_2", 28: "conv5_1"}
    style_weights = {"conv1_1": 1.0, "conv2_1": 0.75, "conv3_1": 0.2, "conv4_1": 0.2, "conv5_1": 0.2}
    vgg = torchvision_features(narrow_weights)

    def get_features(x):
        return dict(zip(layers.values(), stored(vgg, x, layers), strict=True))

    def loss_of(image):
        content_features, style_features = (get_features(normalised(tensor(x))) for x in (CONTENT, STYLE))
        target_features = get_features(normalised(image))
        content_loss = torch.mean((target_features["conv4_2"] - content_features["conv4_2"]) ** 2)
        style_loss = 0
        for layer in style_weights:
            _, d, h, w = target_features[layer].shape
            target_gram, style_gram = (raw_gram(torch, f[layer]) for f in (target_features, style_features))
            layer_style_loss = style_weights[layer] * torch.mean((target_gram - style_gram) ** 2)
            style_loss += layer_style_loss / (d * h * w)
        return 1 * content_loss + 1e6 * style_loss

    check_agreement(judge("udacity2018", narrow_weights), *differentiate(loss_of))


@pytest.mark.parametrize("name", ["sonare2024", "sonare2024-clamped"])
def test_sonare2024(name, torch, narrow_weights):
    model = torchvision_features(narrow_weights, inplace=False)

    def loss_of(image):
        features = [
            stored(model, normalised(x), [0, 5, 10, 19, 21, 28]) for x in (image, tensor(CONTENT), tensor(STYLE))
        ]
        generated, content, style = features
        content_loss = 1 / (2 * generated[4].numel()) * ((generated[4] - content[4]) ** 2).sum()
        style_loss = 0
        for x, a in zip(generated[:4] + generated[5:], style[:4] + style[5:], strict=True):
            _, n, h, w = x.shape
            grams = [raw_gram(torch, f) / n for f in (x, a)]
            style_loss += 1 / (4 * n**2 * (h * w) ** 2) * ((grams[1] - grams[0]) ** 2).sum()
        return 1 * content_loss + 1e6 * style_loss

    check_agreement(judge(name, narrow_weights), *differentiate(loss_of))


@pytest.mark.parametrize(
    ("name", "indices", "cut", "alpha", "beta", "style_layers", "content_layers"),
    [
        ("dye2023", [3, 8, 17, 26, 35], 36, 1, 1, [1, 2, 3, 4, 5], [5]),
        ("dye2023", [3, 8, 17, 26, 35], 36, 1, 1, [1, 3], [2, 4]),
        ("dye2023-code", [0, 5, 10, 19, 28], 29, 1000, 50, [1, 2, 3, 4, 5], [5]),
    ],
)
def test_dye2023(name, indices, cut, alpha, beta, style_layers, content_layers, torch, narrow_weights):
    # The text harvests "the output layers immediately prior to the max pooling": the ReLUs 3, 8, 17, 26, 35.
    model = torchvision_features(narrow_weights)[:cut]
    mse_loss = torch.nn.functional.mse_loss

    def loss_of(image):
        gen_feat, content_feat, style_feat = (
            stored(model, x, indices) for x in (image.clone(), tensor(CONTENT), tensor(STYLE))
        )
        content_loss = sum(mse_loss(gen_feat[value - 1], content_feat[value - 1]) for value in content_layers)
        style_loss = 0
        for value in style_layers:
            counter = value - 1
            style_loss += mse_loss(raw_gram(torch, gen_feat[counter]), raw_gram(torch, style_feat[counter]))
        return alpha * content_loss + beta * style_loss

    chosen = {"style.taps": ",".join(map(str, style_layers)), "content.taps": ",".join(map(str, content_layers))}
    check_agreement(judge(name, narrow_weights, **chosen), *differentiate(loss_of))


def test_gatys_notebook(torch, narrow_weights):
    model = torchvision_features(narrow_weights, inplace=False)
    # The notebook rounds these to [0.40760392, 0.45795686, 0.48501961].
    means = [103.939 / 255, 116.779 / 255, 123.68 / 255]

    def prep(x):
        return (x[:, [2, 1, 0]] - torch.tensor(means, dtype=torch.float64).view(3, 1, 1)) * 255

    def gram(f):
        _, _, h, w = f.shape
        return raw_gram(torch, f) / (h * w)

    def loss_of(image):
        out, content, style = (
            stored(model, prep(x), [1, 6, 11, 20, 22, 29]) for x in (image, tensor(CONTENT), tensor(STYLE))
        )
        total = torch.nn.functional.mse_loss(out[4], content[4])
        for index, n in zip((0, 1, 2, 3, 5), (64, 128, 256, 512, 512), strict=True):
            total = total + 1e3 / n**2 * torch.nn.functional.mse_loss(gram(out[index]), gram(style[index]))
        return total

    check_agreement(judge("gatys-notebook", narrow_weights), *differentiate(loss_of))


def test_pytorch_tutorial(torch, narrow_weights):
    model = torchvision_features(narrow_weights, inplace=False)

    def gram_matrix(f):
        a, b, c, d = f.size()
        features = f.view(a * b, c * d)
        return torch.mm(features, features.t()).div(a * b * c * d)

    def loss_of(image):
        out, content, style = (
            stored(model, normalised(x), [0, 2, 5, 7, 10]) for x in (image, tensor(CONTENT), tensor(STYLE))
        )
        mse_loss = torch.nn.functional.mse_loss
        style_score = sum(mse_loss(gram_matrix(x), gram_matrix(a)) for x, a in zip(out, style, strict=True))
        return 1000000 * style_score + 1 * mse_loss(out[3], content[3])

    check_agreement(judge("pytorch-tutorial", narrow_weights), *differentiate(loss_of))


@pytest.mark.parametrize("name", ["neural-style", "neural-style-pt"])
def test_neural_style(name, torch, narrow_weights):
    model = torchvision_features(narrow_weights, inplace=False)
    for layer in model:
        if isinstance(layer, torch.nn.MaxPool2d):
            layer.ceil_mode = name == "neural-style"

    def preprocess(x):
        return x[:, [2, 1, 0]] * 256 - torch.tensor([103.939, 116.779, 123.68], dtype=torch.float64).view(3, 1, 1)

    def tv_loss(x):
        if name == "neural-style-pt":
            return (x[:, :, 1:, :] - x[:, :, :-1, :]).abs().sum() + (x[:, :, :, 1:] - x[:, :, :, :-1]).abs().sum()
        x_diff = x[:, :, :-1, :-1] - x[:, :, :-1, 1:]
        y_diff = x[:, :, :-1, :-1] - x[:, :, 1:, :-1]
        return 0.5 * (x_diff**2 + y_diff**2).sum()  # its gradient is what TVLoss:updateGradInput adds

    def loss_of(image):
        out, content, style = (
            stored(model, preprocess(x), [1, 6, 11, 20, 22, 29]) for x in (image, tensor(CONTENT), tensor(STYLE))
        )
        mse_loss = torch.nn.functional.mse_loss
        total = 1e-3 * tv_loss(preprocess(image)) + 5 * mse_loss(out[4], content[4])
        for index in (0, 1, 2, 3, 5):
            grams = [raw_gram(torch, f[index]) / f[index].nelement() for f in (out, style)]
            total = total + 100 * mse_loss(*grams)
        return total

    check_agreement(judge(name, narrow_weights), *differentiate(loss_of))


# --- the TensorFlow programs ------------------------------------------------------------------------------------------


@pytest.fixture
def tf():
    return pytest.importorskip("tensorflow")


def keras_model(weights, names, pooling="max", padding="valid", rectified=True):
    """keras.applications.VGG19's layers in float64, a convolution's output being rectified as Keras does it."""
    import keras

    x = inputs = keras.Input((None, None, 3), dtype="float64")
    outputs = {}
    pool = keras.layers.AveragePooling2D if pooling == "average" else keras.layers.MaxPooling2D
    for block, (count, width) in enumerate(zip((2, 2, 4, 4, 4), NARROW, strict=True), start=1):
        for index in range(1, count + 1):
            layer = keras.layers.Conv2D(width, 3, padding="same", dtype="float64")
            bare = layer(x)
            kernel = weights.arrays[f"conv{block}_{index}.weight"]
            layer.set_weights([kernel.transpose(2, 3, 1, 0), weights.arrays[f"conv{block}_{index}.bias"]])
            x = keras.ops.relu(bare)
            outputs[f"block{block}_conv{index}"] = x if rectified else bare
        x = pool(2, 2, padding=padding, dtype="float64")(x)
    return keras.Model(inputs, [outputs[name] for name in names])


STYLE_LAYERS = [f"block{block}_conv1" for block in range(1, 6)]


def caffe(tf, image, dtype="float64"):
    return tf.constant(image[None, ..., ::-1] * 255.0 - np.array([103.939, 116.779, 123.68]), dtype)


def differentiate_tf(tf, loss_of):
    image = tf.constant(caffe(tf, IMAGE))
    with tf.GradientTape() as tape:
        tape.watch(image)
        total = loss_of(image)
    # By the image in [0, 1] RGB: the chain rule through caffe().
    return total, tape.gradient(total, image).numpy()[0, ..., ::-1] * 255.0


def gram_matrix(tf, features):
    a = tf.reshape(features, [-1, features.shape[-1]])
    return tf.matmul(a, a, transpose_a=True)


def test_tf_eager2018(tf, narrow_weights):
    model = keras_model(narrow_weights, [*STYLE_LAYERS, "block5_conv2"])

    def loss_of(image):
        out, style, content = model(image), model(caffe(tf, STYLE)), model(caffe(tf, CONTENT))
        style_score = 0
        for comb, target in zip(out[:5], style[:5], strict=True):
            grams = [gram_matrix(tf, f) / (f.shape[1] * f.shape[2]) for f in (comb, target)]
            style_score += 1.0 / 5 * tf.reduce_mean(tf.square(grams[0] - grams[1]))
        content_score = tf.reduce_mean(tf.square(out[5] - content[5]))
        return style_score * 1e-2 + content_score * 1e3

    check_agreement(judge("tf-eager2018", narrow_weights), *differentiate_tf(tf, loss_of))


def test_tf_tutorial(tf, narrow_weights):
    model = keras_model(narrow_weights, [*STYLE_LAYERS, "block5_conv2"])

    def unit(image):
        return (image[..., ::-1] + np.array([123.68, 116.779, 103.939])) / 255.0

    def loss_of(image):
        out, style, content = model(image), model(caffe(tf, STYLE)), model(caffe(tf, CONTENT))
        style_loss = 0
        for x, a in zip(out[:5], style[:5], strict=True):
            grams = [
                tf.linalg.einsum("bijc,bijd->bcd", f, f) / tf.cast(f.shape[1] * f.shape[2], "float64") for f in (x, a)
            ]
            style_loss += tf.reduce_mean((grams[0] - grams[1]) ** 2)
        style_loss *= 1e-2 / 5
        content_loss = tf.reduce_mean((out[5] - content[5]) ** 2) * 1e4 / 1
        return style_loss + content_loss + 30 * tf.image.total_variation(unit(image))[0]

    check_agreement(judge("tf-tutorial", narrow_weights), *differentiate_tf(tf, loss_of))


def test_keras_io(tf, narrow_weights):
    model = keras_model(narrow_weights, [*STYLE_LAYERS, "block5_conv2"])
    img_nrows, img_ncols = CONTENT.shape[:2]

    def loss_of(image):
        out, style, content = model(image), model(caffe(tf, STYLE)), model(caffe(tf, CONTENT))
        loss = 2.5e-8 * tf.reduce_sum(tf.square(out[5] - content[5]))
        for x, a in zip(out[:5], style[:5], strict=True):
            size = img_nrows * img_ncols
            style_loss = tf.reduce_sum(tf.square(gram_matrix(tf, a) - gram_matrix(tf, x))) / (4.0 * (3**2) * (size**2))
            loss += (1e-6 / 5) * style_loss
        a = tf.square(image[:, : img_nrows - 1, : img_ncols - 1, :] - image[:, 1:, : img_ncols - 1, :])
        b = tf.square(image[:, : img_nrows - 1, : img_ncols - 1, :] - image[:, : img_nrows - 1, 1:, :])
        return loss + 1e-6 * tf.reduce_sum(tf.pow(a + b, 1.25))

    check_agreement(judge("keras-io", narrow_weights), *differentiate_tf(tf, loss_of))


def test_neural_style_tf(tf, narrow_weights):
    rectified = keras_model(narrow_weights, STYLE_LAYERS, "average", "same")
    bare = keras_model(narrow_weights, ["block4_conv2"], "average", "same", rectified=False)

    def loss_of(image):
        x, p = bare(image), bare(caffe(tf, CONTENT))
        _, h, w, d = (x[0] if isinstance(x, list) else x).shape
        x, p = (f[0] if isinstance(f, list) else f for f in (x, p))
        content_loss = 1.0 / (2.0 * d**0.5 * (h * w) ** 0.5) * tf.reduce_sum(tf.pow(x - p, 2))
        style_loss = 0
        for g, a in zip(rectified(image), rectified(caffe(tf, STYLE)), strict=True):
            _, h, w, d = a.shape
            difference = gram_matrix(tf, g) - gram_matrix(tf, a)
            style_loss += 0.2 * (1.0 / (4 * d**2 * (h * w) ** 2)) * tf.reduce_sum(tf.pow(difference, 2))
        return 5e0 * content_loss + 1e4 * style_loss / 5 + 1e-3 * tf.image.total_variation(image)[0]

    check_agreement(judge("neural-style-tf", narrow_weights), *differentiate_tf(tf, loss_of))


def test_gatys2016(tf, narrow_weights):
    model = keras_model(narrow_weights, [*STYLE_LAYERS, "block4_conv2"], "average", "same")

    def loss_of(image):
        out, style, content = model(image), model(caffe(tf, STYLE)), model(caffe(tf, CONTENT))
        total = 1.0 * 0.5 * tf.reduce_sum((out[5] - content[5]) ** 2)
        for f, a in zip(out[:5], style[:5], strict=True):
            n, m = f.shape[3], f.shape[1] * f.shape[2]
            error = tf.reduce_sum((gram_matrix(tf, f) - gram_matrix(tf, a)) ** 2) / (4 * n**2 * m**2)
            total += 1e3 * 0.2 * error
        return total

    check_agreement(judge("gatys2016", narrow_weights), *differentiate_tf(tf, loss_of))


def test_the_programs_pixel_space_is_the_specs():
    np.testing.assert_allclose(
        IMAGE[..., ::-1] * 255.0 - np.array([103.939, 116.779, 123.68]), preprocessing.affine("unit", "caffe")(IMAGE)
    )
