import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from stages import select, silent
from turned_digits import window_of

from acclimate.learning.models import bundle_format
from acclimate.learning.training import recipes, student
from acclimate.learning.training.replay import Replay


@pytest.fixture(scope="module")
def labelled(stream, anchor, parts):
    window = window_of(stream.turned(7, rng=np.random.default_rng(1))[0])
    return window, select(window, anchor, parts.train)


def train(champion, labelled, parts, *, recipe=None, tick=silent):
    window, labels = labelled
    chosen = recipe or recipes.named("self_training")
    return student.train(
        champion,
        window,
        labels,
        Replay(trusted=parts.train),
        chosen,
        rng=np.random.default_rng(5),
        tick=tick,
    )


def test_the_champion_is_left_as_it_was(anchor, labelled, parts):
    before = copy.deepcopy(bundle_format.pack(anchor)[1])
    trained = train(anchor, labelled, parts)
    for name, array in bundle_format.pack(anchor)[1].items():
        assert array.tobytes() == before[name].tobytes(), name
    assert not torch.equal(trained.members[0].layers[0].weight, anchor.members[0].layers[0].weight)
    assert not any(
        parameter.requires_grad for member in anchor.members for parameter in member.parameters()
    )


def test_members_learn_from_draws_of_their_own(anchor, labelled, parts):
    same = replace(anchor, members=(anchor.members[0], anchor.members[0]))
    trained = train(same, labelled, parts)
    assert not torch.equal(trained.members[0].layers[0].weight, trained.members[1].layers[0].weight)


def test_training_leaves_torchs_global_generator_alone(anchor, labelled, parts):
    before = torch.get_rng_state()
    train(anchor, labelled, parts)
    assert torch.equal(torch.get_rng_state(), before)


def test_progress_is_reported_at_least_every_ten_steps_and_ends_complete(anchor, labelled, parts):
    reported = []
    train(anchor, labelled, parts, tick=lambda done, total: reported.append((done, total)))
    done = [steps for steps, _ in reported]
    assert done[0] == 0
    assert reported[-1] == (720, 720)
    assert max(np.diff(done)) <= 10


def test_a_loss_that_is_not_finite_stops_before_the_step(anchor, labelled, parts):
    members = tuple(copy.deepcopy(member) for member in anchor.members)
    with torch.no_grad():
        members[1].layers[0].bias[0] = float("inf")
        members[1].layers[2].weight[0, 0] = float("-inf")
    with pytest.raises(student.NonFiniteLoss, match="member 1 was not finite at step 0") as error:
        train(replace(anchor, members=members), labelled, parts)
    assert (error.value.member, error.value.step) == (1, 0)


def test_a_rate_that_explodes_is_stopped_at_the_step_that_shows_it(anchor, labelled, parts):
    explosive = replace(recipes.named("self_training"), learning_rate=1e30)
    with pytest.raises(student.NonFiniteLoss) as error:
        train(anchor, labelled, parts, recipe=explosive)
    assert error.value.step >= 1


def test_an_unknown_recipe_is_named_with_those_there_are():
    with pytest.raises(recipes.UnknownRecipe, match="'born_agin'; known: self_training"):
        recipes.named("born_agin")
