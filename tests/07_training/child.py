"""Run by test_kill.py: trains in a process of its own, and waits in the middle of an epoch if told to.

python child.py CHECKPOINT RESULT [wait]
"""

import json
import sys
import time

from training_loaders import loaders, numbers, trainer, weights


def wait_in_the_middle(epoch, batch):
    if (epoch, batch) == (3, 4):
        print("in the middle", flush=True)
        time.sleep(60)


def main(checkpoint, result, *wait):
    trained = trainer()
    history = trained.fit(*loaders(wait_in_the_middle if wait else None), epochs=6, checkpoint=checkpoint,
                          resume="resumed" in result, progress=False)
    with open(result, "w", encoding="utf-8") as file:
        json.dump({"history": numbers(history), "weights": [w.hex() for w in weights(trained)]}, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
