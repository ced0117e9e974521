"""1986, the whole of it: a network with a hidden layer learns to read digits. From the course folder:

python -m milestones.03_1986_mlp.train
"""

from tinytorch import nn, optim

HIDDEN, CLASSES = 32, 10


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES))


def recipe(model):
    return optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


if __name__ == "__main__":
    from tinytorch import Trainer, manual_seed
    from tinytorch.data.loader import DataLoader, TensorDataset, digits

    manual_seed(0)
    train_x, train_y, test_x, test_y = digits(seed=0)
    train = DataLoader(TensorDataset(train_x, train_y), batch_size=32, shuffle=True, seed=0)
    test = DataLoader(TensorDataset(test_x, test_y), batch_size=360)
    model = mlp()
    Trainer(model, recipe(model)).fit(train, test, epochs=30)
