"""The augmentation of a training step: what the layers of the network draw, with flips and the rotation in one transform."""

import keras
import tensorflow as tf

from baton.training.networks import to_logits

ROTATION = "random_rotation"


def logits_in_training(network, in_one_pass, compiled):
    """Return the function from images to the logits of `network` in training: see `augment_in_one_pass`.

    in_one_pass: False for earlier versions, whose augmentation layers run one after the other.
    """
    logits = to_logits(network, augmented=in_one_pass)
    augment = augment_in_one_pass(network, compiled) if in_one_pass else lambda images: images
    return lambda images: logits(augment(images), training=True)


def augment_in_one_pass(network, compiled):
    """Return a function that changes (batch, size, size, 3) images, uint8, as the augmentation layers of `network` do.

    They draw as they would by themselves. But where a flip comes before a rotation, each pixel is interpolated once, at the
    place that both together give: mirroring at the border is the same before a flip and after it, so the result is that of
    one after the other, but for the last bits. What comes after the rotation follows by itself: a zoom has a border of its own.
    compiled: whether XLA compiles the transform, which takes half the time of TensorFlow's op then.
    """
    layers = [layer for layer in network.layers if layer.name.startswith("random_")]
    names = [layer.name for layer in layers]
    place = names.index(ROTATION) if ROTATION in names else 0
    flips, others = layers[:place], layers[place:]
    rotation = others.pop(0) if flips or (compiled and ROTATION in names) else None

    def transform(images, places):
        if compiled:
            return interpolate(images, places)
        how = {key: getattr(rotation, key) for key in ("interpolation", "fill_mode", "fill_value")}
        return keras.ops.image.affine_transform(tf.cast(images, tf.float32), places, **how)

    def augment(images):
        if rotation is not None:
            # x and y in the image from those in the result: a0 x + a1 y + a2, b0 x + b1 y + b2.
            places = rotation.get_random_transformation(images)["rotation_matrix"]
            for flip in flips:
                flipped = tf.reshape(flip.get_random_transformation(images)["flips"], (-1, 1))
                places = tf.where(flipped, mirror(places, flip.mode, images.shape[1]), places)
            images = transform(images, places)
        images = tf.cast(images, tf.float32)
        for layer in others:
            images = layer(images, training=True)
        return images

    return augment


@tf.function(jit_compile=True)
def interpolate(images, places):
    """Return what bilinear interpolation of images, mirrored at their border, gives: (batch, size, size, 3), float32.

    As TensorFlow's ImageProjectiveTransformV3 with fill_mode REFLECT, which takes the time to find each pixel's place three
    times, once for each colour. images: (batch, size, size, 3), uint8; places: (batch, 8) affine transforms, see `mirror`.
    """
    size = images.shape[1]
    along = tf.range(size, dtype=tf.float32)
    a0, a1, a2, b0, b1, b2 = (places[:, number, None, None] for number in range(6))
    column, right = find_neighbour(a0 * along + a1 * along[:, None] + a2, size)
    row, lower = find_neighbour(b0 * along + b1 * along[:, None] + b2, size)
    image = tf.range(tf.shape(images)[0])[:, None, None]
    place = (image * size + row) * size + column
    pixels = tf.reshape(images, (-1, 3))

    def blend(first, second, share):
        return first + (second - first) * share[..., None]

    def look_up(place):
        return tf.cast(tf.gather(pixels, place), tf.float32)

    upper, under = (blend(look_up(left), look_up(left + 1), right) for left in (place, place + size))
    return blend(upper, under, lower)


def find_neighbour(place, size):
    """Return the pixel before each place on an axis, mirrored at the border into 0 to size - 1, and how far it lies beyond."""
    place = tf.math.floormod(place, 2.0 * size)
    place = tf.clip_by_value(tf.minimum(place, 2 * size - 1 - place), 0, size - 1)
    before = tf.minimum(tf.floor(place), size - 2)
    return tf.cast(before, tf.int32), place - before


def mirror(places, mode, size):
    """Return affine transforms (batch, 8) that find each pixel at the mirrored place of an image of this size."""
    axis = {"horizontal": [1, 0], "vertical": [0, 1]}[mode]
    of_axis = tf.constant([axis[0]] * 3 + [axis[1]] * 3 + [0, 0], tf.float32)
    last = tf.constant([0, 0, axis[0], 0, 0, axis[1], 0, 0], tf.float32) * (size - 1)
    return places * (1 - 2 * of_axis) + last
