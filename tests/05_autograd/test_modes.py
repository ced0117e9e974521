"""The mode of `no_grad`: per thread, per asyncio task, and on only while the decorated code itself runs."""

import asyncio
import threading

import pytest

from tinytorch.core.autograd import no_grad
from tinytorch.core.tensor import Tensor

X = Tensor([1.0, 2.0], requires_grad=True)


def on():
    return (X * 2).requires_grad


def test_two_threads_that_enter_and_leave_in_turn_leave_the_mode_on():
    turn, seen = threading.Barrier(2, timeout=60), []

    def work(first):
        turn.wait()
        if not first:
            turn.wait()  # the other one is inside by now
        with no_grad():
            seen.append(on())
            turn.wait()
            if first:
                turn.wait()
        seen.append(on())

    threads = [threading.Thread(target=work, args=(first,)) for first in (True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(seen) == [False, False, True, True] and on()


def test_two_tasks_have_modes_of_their_own():
    async def quiet(inside, leave):
        with no_grad():
            inside.set()
            await leave.wait()
            return on()

    async def both():
        inside, leave = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(quiet(inside, leave))
        await inside.wait()
        here = on()
        leave.set()
        return here, await task, on()

    assert asyncio.run(both()) == (True, False, True)


def test_a_decorated_generator_has_it_while_its_own_code_runs():
    closed = []

    @no_grad()
    def steps(count):
        """Some steps."""
        try:
            for _ in range(count):
                got = yield on()
                closed.append(got)
        except KeyError:
            yield "caught", on()
        finally:
            closed.append(on())
        return "done"

    def delegated():
        return (yield from steps(1))

    assert steps.__doc__ == "Some steps."
    walk = steps(3)
    assert next(walk) is False and on() and walk.send("told") is False and on() and closed == ["told"]
    assert walk.throw(KeyError()) == ("caught", False) and on()
    assert list(walk) == [] and closed == ["told", False]
    walk = steps(2)
    next(walk)
    walk.close()
    assert closed[-1] is False and on()
    walk, said = delegated(), None
    next(walk)
    try:
        walk.send(None)
    except StopIteration as stop:
        said = stop.value
    assert said == "done" and on()


def test_a_generator_left_in_another_thread_does_no_harm():
    @no_grad()
    def steps():
        yield on()
        yield on()

    walk = steps()
    seen = [next(walk)]
    thread = threading.Thread(target=lambda: seen.extend(walk))
    thread.start()
    thread.join(10)
    assert seen == [False, False] and on()


def test_a_decorated_coroutine_has_it_while_its_own_code_runs():
    @no_grad()
    async def measured():
        first = on()
        await asyncio.sleep(0)
        return first, on()

    @no_grad
    async def dealt():
        for _ in range(2):
            await asyncio.sleep(0)
            yield on()

    async def other(seen):
        for _ in range(6):
            seen.append(on())
            await asyncio.sleep(0)

    async def all_of_it():
        seen = []
        beside = asyncio.create_task(other(seen))
        result = await measured()
        here = on()
        items = []
        async for item in dealt():
            items += [item, on()]
        await beside
        return result, here, items, seen, on()

    assert asyncio.run(all_of_it()) == ((False, False), True, [False, True, False, True], [True] * 6, True)

    by_hand = measured()  # without a loop: what stands between two steps is the caller's
    by_hand.send(None)
    assert on()
    by_hand.close()
    assert on()


def test_without_brackets_nested_and_on_a_method():
    class Model:
        @no_grad
        def predict(self):
            return on()

    block = no_grad()
    with block, block:
        assert not on()
    assert on() and Model().predict() is False and on()


def test_one_block_for_several_threads():
    block, turn, seen = no_grad(), threading.Barrier(2, timeout=60), []

    def work(outer):
        if outer:
            with no_grad():
                turn.wait()
                with block:
                    turn.wait(), turn.wait()
                seen.append(on())  # within no_grad still
        else:
            turn.wait()
            with block:
                turn.wait(), turn.wait()
        seen.append(on())

    threads = [threading.Thread(target=work, args=(outer,)) for outer in (True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(seen) == [False, True, True] and on()


def test_one_block_for_several_tasks():
    block = no_grad()

    async def quiet(first):
        with block:
            await asyncio.sleep(0.001 if first else 0.01)
            inside = on()
        return inside, on()

    async def both():
        with block:
            one = asyncio.create_task(quiet(True))
        return await asyncio.gather(one, quiet(False), quiet(True)), on()

    assert asyncio.run(both()) == ([(False, False), (False, True), (False, True)], True)


def test_blocks_left_out_of_order():
    first, second = no_grad(), no_grad()
    first.__enter__(), second.__enter__()
    first.__exit__()
    assert not on()
    second.__exit__()
    assert on()
    with pytest.raises(RuntimeError, match="left without having been entered"):
        first.__exit__()


def test_what_it_decorates():
    async def waits():
        first = on()
        await asyncio.sleep(0)
        return first, on()

    class Waits:
        def __await__(self):
            return waits().__await__()

    async def result_of(make):
        return await make()

    assert asyncio.run(no_grad(lambda: waits())()) == (False, False)
    assert asyncio.run(result_of(no_grad(lambda: Waits()))) == (False, False)

    class Model:
        made = no_grad(classmethod(lambda cls: on()))
        plain = no_grad()(staticmethod(lambda: on()))

    assert (Model.made(), Model().made(), Model.plain(), Model().plain(), on()) == (False, False, False, False, True)
    for wrong in (5, True, Model, "a"):
        with pytest.raises(TypeError, match="a function to decorate was expected, got"):
            no_grad(wrong)
    with pytest.raises(TypeError, match=r"lacks its brackets: write `with no_grad\(\):`"), no_grad:
        pass
    assert on() and no_grad.__doc__


def test_an_error_thrown_into_a_decorated_asynchronous_generator():
    @no_grad()
    async def steps():
        try:
            yield on()
        except KeyError:
            yield "caught", on()

    async def walk():
        its = steps()
        return await its.asend(None), await its.athrow(KeyError()), [x async for x in its], on()

    assert asyncio.run(walk()) == (False, ("caught", False), [], True)
