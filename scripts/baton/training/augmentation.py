"""The augmentation of a training step: what the layers of the network draw, with a flip and the rotation in one transform."""

import keras
import tensorflow as tf

from baton.training.networks import to_logits

ROTATION = "random_rotation"


def logits_in_training(network, in_one_pass):
    """Return the function from images to the logits of `network` in training: see `augment_in_one_pass`.

    in_one_pass: False for earlier versions, whose augmentation layers run one after the other.
    """
    logits = to_logits(network, augmented=in_one_pass)
    augment = augment_in_one_pass(network) if in_one_pass else lambda images: images
    return lambda images: logits(augment(images), training=True)


def augment_in_one_pass(network):
    """Return a function that changes (batch, size, size, 3) images as the augmentation layers of `network` do.

    They draw as they would by themselves. But where a flip comes before a rotation, each pixel is interpolated once, at the
    place that both together give: mirroring at the border is the same before a flip and after it, so the result is that of
    one after the other, but for the last bits. What comes after the rotation follows by itself: a zoom has a border of its own.
    """
    layers = [layer for layer in network.layers if layer.name.startswith("random_")]
    names = [layer.name for layer in layers]
    place = names.index(ROTATION) if ROTATION in names else 0
    flips, others = layers[:place], layers[place:]
    rotation = others.pop(0) if flips else None

    def augment(images):
        images = tf.cast(images, tf.float32)
        if rotation is not None:
            # x and y in the image from those in the result: a0 x + a1 y + a2, b0 x + b1 y + b2.
            places = rotation.get_random_transformation(images)["rotation_matrix"]
            for flip in flips:
                flipped = tf.reshape(flip.get_random_transformation(images)["flips"], (-1, 1))
                places = tf.where(flipped, mirror(places, flip.mode, images.shape[1]), places)
            images = keras.ops.image.affine_transform(
                images,
                places,
                interpolation=rotation.interpolation,
                fill_mode=rotation.fill_mode,
                fill_value=rotation.fill_value,
            )
        for layer in others:
            images = layer(images, training=True)
        return images

    return augment


def mirror(places, mode, size):
    """Return affine transforms (batch, 8) that find each pixel at the mirrored place of an image of this size."""
    axis = {"horizontal": [1, 0], "vertical": [0, 1]}[mode]
    of_axis = tf.constant([axis[0]] * 3 + [axis[1]] * 3 + [0, 0], tf.float32)
    last = tf.constant([0, 0, axis[0], 0, 0, axis[1], 0, 0], tf.float32) * (size - 1)
    return places * (1 - 2 * of_axis) + last
