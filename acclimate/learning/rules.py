"""The rules of learning by name: each can be switched off (`thresholds.Thresholds.off`)."""

from __future__ import annotations

RULES = {
    # diagnosis
    "single_peek": "drift of the inputs counts at the level of one window while priors stand still",
    "layers": "drift that only the last layers show is reported as covariate drift, not learnt",
    "scale": "drift of offset and scale is learnt by the anchor in the window's own scale",
    "prior_mode": "the anchor follows the class priors where nothing else moved",
    "late_return": "a version that learnt stays until the drift is clearly over",
    "labels": "labels that contradict version 1 on undrifted inputs raise the alarm `concept`",
    "unknown_class": "labels of none of the classes raise the alarm `new_class`",
    # screening
    "client_support": "rows of a drifted window that few clients send teach nothing",
    "contamination": "rows denser than the seed set allows teach nothing while half may be its own",
    "contradiction": "rows that version 1 contradicts teach nothing while the seed's traffic rules",
    # selection
    "duplicate": "copies of a row beyond those that the seed set has teach nothing",
    "isolated": "a row without neighbours teaches nothing",
    "as_served": "both readings of a row, in the window's scale and in the served one, must agree",
    "disagreement": "all members must give a row the same label",
    "low_confidence": "a row needs the mean confidence of the rows predicted as its class",
    "client_share": "one client teaches at most its share of the accepted rows",
    # alarms
    "agreement": "the members' agreement fell in one step",
    "confidence_step": "the confidence of version 1 fell in one step",
    "class_shares_step": "the priors nearest to drifted inputs changed in one step",
    "both_steps": "agreement and confidence fell together in one step",
    "neighbours": "a lower limit for both, where trusted neighbours contradict version 1",
    "standing": "while an alarm stands, less is enough for the next",
    # training
    "agreement_temperature": "a student is no surer than it agrees with its teacher",
    "labels_alone": "labels teach alone where nothing else does",
    "simulation": "what gained nothing in simulated drift does not learn; little: in the shadow",
    # gates: each gate is a rule of its own name (`GATES` below); these change gates
    "drift_margin": "margins of gates against the anchor widen with drift",
    # serving
    "serving_guard": "the proved version serves while the learner is not ahead of it",
    # estimate
    "second_opinion": "an estimate that a second estimator contradicts is refused",
    "frozen_fall": "no estimate for version 1 where its confidence fell",
    "expected_fall": "no estimate where confidence fell below what the version showed when judged",
    # promotion monitor
    "rollback_confidence": "a promotion whose live confidence fell is rolled back",
    "rollback_classes": "a promotion whose live classes moved is rolled back",
}
"""What each rule does, by name."""

GATES = (
    "finite_weights",
    "self_test",
    "enough_evidence",
    "accuracy_against_anchor",
    "class_recall",
    "max_ece",
    "class_flow",
    "agreement_with_champion",
    "audited_accuracy",
    "audited_gain",
    "mode_accuracy",
)
"""Gates, each a rule too: one that is switched off informs and does not bind."""
