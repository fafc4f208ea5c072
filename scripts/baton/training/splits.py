"""The images of a split as training reads them: mapped from disk, in batches, in an order that follows from the seed."""

import math
import mmap
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice

import numpy as np
import tensorflow as tf

from baton.manifests import read_manifest

# Advice to the system how a file is read, which decides no result: Windows takes none, nor does every file system.
NO_ADVICE = (AttributeError, OSError)


class Split:
    """The images of a split, mapped from disk, with label and weight of each.

    images: (n, size, size, 3) uint8; labels: (n,) int32; weights: (n,) float32; answers: (n, classes) float32, the shares of
    each image's answers, None where labels are learned.
    """

    def __init__(self, array, manifest, class_weights=None, answers=None):
        self.images = np.load(array, mmap_mode="r")
        with suppress(*NO_ADVICE):  # else the system reads megabytes around each image that is not in memory
            self.images.base.madvise(mmap.MADV_RANDOM)
        self.answers = answers
        self.labels = read_manifest(manifest)["label"].to_numpy(np.int32)
        self.weights = np.ones(len(self.labels), np.float32)
        if class_weights is not None:
            self.weights = np.asarray(class_weights, np.float32)[self.labels]

    def __len__(self):
        return len(self.labels)

    def read_ahead(self, rows):
        """Have the system read the images of these rows from the disk, all at the same time."""
        size = self.images.strides[0]
        firsts = self.images.offset + size * np.asarray(rows, np.int64)
        pages = firsts - firsts % mmap.PAGESIZE
        lengths = firsts + size - pages
        with suppress(*NO_ADVICE):
            for page, length in zip(pages.tolist(), lengths.tolist(), strict=True):
                self.images.base.madvise(mmap.MADV_WILLNEED, page, length)

    def batches(self, batch_size, order=None, first=0):
        """Yield (images, labels, weights[, answers]) batches, read ahead of their use, from number `first` on.

        order: the rows, in the order they are wanted; None: as they are.
        """
        order = np.arange(len(self)) if order is None else order

        def read(number):
            rows = order[number * batch_size : (number + 1) * batch_size]
            self.read_ahead(rows)
            columns = [self.images, self.labels, self.weights] + (
                [] if self.answers is None else [self.answers]
            )
            return [tf.convert_to_tensor(np.asarray(column[rows])) for column in columns]

        # A thread, not tf.data: that compiles a pipeline for every epoch, which a short one feels.
        numbers = iter(range(first, math.ceil(len(order) / batch_size)))
        with ThreadPoolExecutor(1) as reader:
            ahead = deque(reader.submit(read, number) for number in islice(numbers, 2))
            while ahead:
                batch = ahead.popleft().result()
                ahead.extend(reader.submit(read, number) for number in islice(numbers, 1))
                yield batch


def order_of_epoch(count, seed, epoch):
    """Return the order of `count` training images in an epoch: it follows from (seed, epoch) alone."""
    return np.random.default_rng([seed, epoch]).permutation(count)
