"""What the graded cells say to the usual mistakes, in solutions written differently from the reference."""


def order(line, cut="range(0, count, batch_size)"):
    return f"{line}\nreturn [rows[at : at + batch_size] for at in {cut}]"


SHUFFLED = "rows = np.arange(count)\nif shuffle:\n    rows = generator.permutation(rows)"
FLIP = """
result = np.array(images)
for number, draw in enumerate(generator.random(len(images))):
    if draw < self.p:
        result[number] = MIRRORED
return result
"""
CROP = """
corners = zip(tops, lefts)
return np.array([picture[:, t : t + size[0], n : n + size[1]] for picture, (t, n) in zip(images, corners)])
"""
READ = """
if not Path(path).is_file():
    raise FileNotFoundError(path)
raw = np.frombuffer(Path(path).read_bytes(), dtype=np.uint8)
raw = raw.reshape(len(raw) // CIFAR_RECORD, CIFAR_RECORD)
return PIXELS, raw[:, 0].astype("int64")
"""
LENGTH = """
full, rest = divmod(len(self.dataset), self.batch_size)
return full + (rest > 0 and not self.drop_last)
"""
BATCHES = """
rows = epoch_batches(len(self.dataset), self.batch_size, self.shuffle, self.drop_last, STREAM)
for i in range(len(rows)):
    yield prepare(fetch(self.dataset, rows[i]), TRANSFORM, epoch_rng(self.seed, epoch, i + 1))
"""
COUNTED = "self.epoch += 1\nreturn as_tensors(self.batches(self.epoch - 1), self.prefetch)"


def batches(stream="epoch_rng(self.seed, epoch)", transform="self.transform"):
    return BATCHES.replace("STREAM", stream).replace("TRANSFORM", transform)


NOTEBOOK = "08_dataloader/dataloader_dev.ipynb"
MISTAKES = {  # name: (what the message must say, solution cell, code for its regions in order; None: the reference's)
    "number of arrays": ("the number of arrays", "tensor_dataset", None, "return len(self.arrays)"),
    "labels not indexed": (
        "labels that are not taken at the indices",
        "tensor_dataset",
        None,
        None,
        "rest = [array[: np.size(index)] if np.ndim(index) else array[index] for array in self.arrays[1:]]\n"
        "return self.arrays[0][index], *rest",
    ),
    "always dropped": (
        "a last batch that is always dropped",
        "epoch_batches",
        order(f"{SHUFFLED}\nfull = count - count % batch_size", "range(0, full if shuffle else count, batch_size)"),
    ),
    "with replacement": (
        "drawn with replacement",
        "epoch_batches",
        order("rows = generator.integers(0, count, count) if shuffle else np.arange(count)"),
    ),
    "not seeded": (
        "draw from `generator`, not from np.random",
        "epoch_batches",
        order("rows = np.arange(count)\nif shuffle:\n    np.random.shuffle(rows)"),
    ),
    "inside each batch": (
        "not inside each batch",
        "epoch_batches",
        """
        parts = [np.arange(at, min(at + batch_size, count)) for at in range(0, count, batch_size)]
        for part in parts:
            if shuffle:
                generator.shuffle(part)
        return parts
        """,
    ),
    "full batch dropped": (
        "drop it only if it is short",
        "epoch_batches",
        order(SHUFFLED) + "[: -1 if drop_last else None]",
    ),
    "bytes not divided": (
        "not divided by 255",
        "normalize",
        "return ((images.astype(np.float32) - self.mean) / self.std).astype(np.float32)",
    ),
    "mean not divided": (
        "a mean that is not divided by std",
        "normalize",
        "unit = np.float32(255 if images.dtype == np.uint8 else 1)\nreturn images / unit / self.std - self.mean",
    ),
    "std as a factor": (
        "std as a factor",
        "normalize",
        "unit = np.float32(255 if images.dtype == np.uint8 else 1)\nreturn (images / unit - self.mean) * self.std",
    ),
    "upside down": ("upside down", "random_horizontal_flip", FLIP.replace("MIRRORED", "images[number, :, ::-1]")),
    "colours reversed": (
        "the channels reversed",
        "random_horizontal_flip",
        FLIP.replace("MIRRORED", "images[number, ::-1]"),
    ),
    "wrong way round": (
        "p = 0 mirrors nothing",
        "random_horizontal_flip",
        FLIP.replace("draw < self.p", "draw > self.p").replace("MIRRORED", "np.flip(images[number], -1)"),
    ),
    "one draw for all": (
        "each image decides for itself",
        "random_horizontal_flip",
        "return np.array(images[..., ::-1] if generator.random() < self.p else images)",
    ),
    "corner exchanged": (
        "tops and lefts exchanged",
        "crop_batch",
        CROP.replace("zip(tops, lefts)", "zip(lefts, tops)"),
    ),
    "one corner": (
        "the first image's corner for all",
        "crop_batch",
        "return images[:, :, tops[0] : tops[0] + size[0], lefts[0] : lefts[0] + size[1]].copy()",
    ),
    "last place never": (
        "leaves out `high`",
        "random_crop",
        "t, n = (generator.integers(0, high, size=len(images)) for high in room)\n"
        "return crop_batch(padded, t, n, self.size)",
    ),
    "labels left behind": (
        "each label must stay beside its image",
        "data_loader",
        LENGTH,
        """
        count, generator = len(self.dataset), epoch_rng(self.seed, epoch)
        for i, rows in enumerate(epoch_batches(count, self.batch_size, self.shuffle, self.drop_last, generator)):
            inputs, targets = fetch(self.dataset, rows)
            others = fetch(self.dataset, np.arange(i * self.batch_size, i * self.batch_size + len(rows)))
            yield prepare((inputs, others[1]), self.transform, epoch_rng(self.seed, epoch, i + 1))
        """,
        COUNTED,
    ),
    "same order in every epoch": (
        "epoch 1 came in the order of epoch 0",
        "data_loader",
        LENGTH,
        batches("self.seed"),
        COUNTED,
    ),
    "epoch not counted": (
        "epoch 1 came in the order of epoch 0",
        "data_loader",
        LENGTH,
        batches(),
        "return as_tensors(self.batches(self.epoch), self.prefetch)",
    ),
    "counted too early": (
        "the epoch is counted before it is used",
        "data_loader",
        LENGTH,
        batches(),
        COUNTED.replace("self.epoch - 1", "self.epoch"),
    ),
    "shuffle not seeded": ("draw from epoch_rng(seed, epoch) alone", "data_loader", LENGTH, batches("None"), COUNTED),
    "transform left out": (
        "a transform that is never called",
        "data_loader",
        LENGTH,
        batches(transform="None"),
        COUNTED,
    ),
    "channels last": (
        "channels last",
        "read_cifar_file",
        READ.replace("PIXELS", "np.moveaxis(raw[:, 1:].reshape(-1, 32, 32, 3), -1, 1)"),
    ),
    "one byte early": (
        "one byte early",
        "read_cifar_file",
        READ.replace("PIXELS", "raw[:, : CIFAR_RECORD - 1].reshape(-1, 3, 32, 32)"),
    ),
    "columns first": (
        "rows and columns exchanged",
        "read_cifar_file",
        READ.replace("PIXELS", "raw[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 1, 3, 2)"),
    ),
}


def test_message_names_the_mistake(said, mistake):
    assert MISTAKES[mistake][0] in said[mistake], said[mistake] or "no visible test noticed it"


def test_the_solutions_without_a_mistake_pass(messages):
    kept = "range(0, count - (count % batch_size if drop_last else 0), batch_size)"
    right = {
        "epoch_batches": ("epoch_batches", order(SHUFFLED, kept)),
        "flip": ("random_horizontal_flip", FLIP.replace("MIRRORED", "images[number, ..., ::-1]")),
        "crop": ("crop_batch", CROP),
        "loader": ("data_loader", LENGTH, batches(), COUNTED),
    }
    assert messages(NOTEBOOK, right) == dict.fromkeys(right, "")
