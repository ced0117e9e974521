"""1998, the whole of it: a convolutional network of 810 parameters reads digits. From the course folder:

python -m milestones.04_1998_cnn.train
"""

from tinytorch import optim


def recipe(model, epochs):
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return optimizer, optim.CosineAnnealingLR(optimizer, T_max=epochs)


if __name__ == "__main__":
    from tinytorch import Trainer, manual_seed
    from tinytorch.core.spatial import digits_cnn  # yours: conv 1 to 8 (3x3), ReLU, max pool 2, Linear 72 to 10
    from tinytorch.data.loader import DataLoader, TensorDataset, digits

    manual_seed(0)
    train_x, train_y, test_x, test_y = digits(seed=0)
    train = DataLoader(TensorDataset(train_x, train_y), batch_size=32, shuffle=True, seed=0)
    test = DataLoader(TensorDataset(test_x, test_y), batch_size=360)
    model, epochs = digits_cnn(), 30
    optimizer, scheduler = recipe(model, epochs)
    Trainer(model, optimizer, scheduler=scheduler).fit(train, test, epochs)
