"""What the fields of a configuration may hold: a config.json can be edited by hand, damaged, or of another version."""

import math
import types
from inspect import signature
from typing import Any, Union, get_args, get_origin

import transformers
from transformers import AutoConfig

PROBLEM_TYPES = ("single_label_classification", "multi_label_classification", "regression")


def require(condition: bool, message: str) -> None:
    """Raise ValueError(message) unless the condition holds."""
    if not condition:
        raise ValueError(message)


def check_types(config: Any, base: type) -> None:
    """Make sure that each field holds what the classes of a configuration say that it does.

    Args:
        config: Its fields are set.
        base: The first of its classes that is ours.

    Raises:
        ValueError: A field holds something else; the message names it.
    """
    for each in type(config).__mro__:
        if issubclass(each, base):
            for name, field in signature(each.__init__).parameters.items():
                if name in config.__dict__ and name != "encoder_config":
                    value = getattr(config, name)
                    wanted = getattr(field.annotation, "__name__", None) or field.annotation
                    require(_fits(value, field.annotation), f"{name} = {value!r} must be of the type {wanted}")


def _fits(value: Any, annotation: Any) -> bool:
    if get_origin(annotation) in (Union, types.UnionType):
        return any(_fits(value, each) for each in get_args(annotation))
    if get_origin(annotation) is list:
        return isinstance(value, list | tuple) and all(_fits(each, get_args(annotation)[0]) for each in value)
    if get_origin(annotation) is dict:
        return isinstance(value, dict)
    if annotation is float:
        return type(value) in (int, float) and not math.isnan(value)
    if annotation is int:
        return type(value) is int
    return annotation is Any or isinstance(value, annotation or type(None))


def check_classes(fields: dict[str, Any]) -> None:
    """Make sure that the fields that any classifier has can be used: its classes, and what a text is put together of.

    Args:
        fields: Of a configuration, as config.json has them.

    Raises:
        ValueError: One can't; the message names it.
    """
    names, kind = fields.get("id2label"), fields.get("problem_type")
    if names is not None:
        is_named = isinstance(names, dict) and bool(names) and all(isinstance(name, str) for name in names.values())
        require(is_named, f"id2label = {names!r} in its config.json must give each class a name, as in {{'0': 'news'}}")
        counted = {str(index) for index in range(len(names))}
        require({str(index) for index in names} == counted, "the keys of id2label in its config.json must count from 0")
    ids = fields.get("label2id")
    require(ids is None or isinstance(ids, dict), f"label2id = {ids!r} in its config.json must give each name a class")
    number_of = {name: str(index) for index, name in (names or {}).items()}
    for name, index in (ids or {}).items():  # a name that id2label lacks is an earlier one, and nothing reads it
        wanted = number_of.get(name, str(index))
        require(
            str(index) == wanted, f"label2id in its config.json must be id2label's: {name!r} is {wanted}, not {index}"
        )
    known = kind is None or (isinstance(kind, str) and kind in PROBLEM_TYPES)
    require(known, f"problem_type = {kind!r} in its config.json must be one of {', '.join(PROBLEM_TYPES)}")
    columns = fields.get("text_columns")
    if columns is not None:
        is_list = isinstance(columns, list | tuple) and all(isinstance(each, str) for each in columns)
        require(is_list and bool(columns), f"text_columns = {columns!r} in its config.json must be a list of columns")
        separator = fields.get("text_separator")
        is_known = len(columns) == 1 and separator is None or isinstance(separator, str)
        require(is_known, f"text_separator = {separator!r} in its config.json must be text")


def rotary_fields_of_version_4(model_type: str, fields: dict[str, Any]) -> dict[str, Any]:
    """What transformers 5 keeps in `rope_parameters`, in the fields of transformers 4, which would not read it.

    Args:
        model_type: Of the encoder.
        fields: Of its configuration.

    Raises:
        ValueError: There are no such fields.
    """
    known = signature(type(AutoConfig.for_model(model_type)).__init__).parameters
    fields = dict(fields)
    rotary = fields.pop("rope_parameters")
    by_layer = {"full_attention", "sliding_attention"} & rotary.keys()
    everywhere = dict(rotary.get("full_attention", {}) if by_layer else rotary)
    local = dict(rotary.get("sliding_attention") or {})
    values = {
        ("rope_theta", "global_rope_theta", "rotary_emb_base"): everywhere.pop("rope_theta", None),
        ("partial_rotary_factor", "rotary_pct"): everywhere.pop("partial_rotary_factor", None),
        ("rope_local_base_freq", "local_rope_theta"): local.pop("rope_theta", None),
        ("rope_scaling",): None if everywhere.get("rope_type", "default") == "default" else everywhere,
    }
    told = local.pop("rope_type", "default") == "default" and not local
    for names, value in values.items():
        name = next((name for name in names if name in known), None)
        told = told and (value is None or name is not None)
        if name is not None and value is not None:
            fields[name] = value
    if "global_attn_every_n_layers" in known and (layers := fields.get("layer_types")):
        every = next((number for number, kind in enumerate(layers[1:], 1) if kind == "full_attention"), len(layers))
        fields["global_attn_every_n_layers"] = every
        kinds = ["sliding_attention" if number % every else "full_attention" for number in range(len(layers))]
        told = told and kinds == layers
    require(
        told,
        f"the encoder's rotary positions were saved by transformers 5, and transformers {transformers.__version__} has "
        f"no place for them in its {model_type}: install transformers 5",
    )
    return fields


def check_fitted(config: Any) -> None:
    """Make sure that what was fitted for a model's classes fits them, and is in its range.

    Args:
        config: Its fields are set, and of the right types.

    Raises:
        ValueError: A field isn't; the message names it.
    """
    check_explanation(config.explanation)
    scale = config.label_scale
    is_scale = scale is None or (
        len(scale) == 2 and config.num_labels == 1 and math.isfinite(scale[0]) and 0 < scale[1] < float("inf")
    )
    require(is_scale, f"label_scale = {scale} must be a mean and a standard deviation above 0, of one label")
    review, thresholds = config.review_threshold, config.label_thresholds
    require(0 <= (review or 0) <= 1, f"review_threshold = {review} must lie between 0 and 1")
    for name in ("prior_correction", "label_thresholds"):
        numbers = getattr(config, name)
        is_whole = numbers is None or len(numbers) == config.num_labels
        require(is_whole, f"{name} needs one number for each of the {config.num_labels} labels")
    if thresholds is None:
        return
    require(all(0 <= each <= 1 for each in thresholds), f"label_thresholds = {thresholds} must lie between 0 and 1")
    is_multi_label = config.problem_type == "multi_label_classification"
    require(is_multi_label, f"label_thresholds are of multi_label_classification, not of {config.problem_type}")


def check_explanation(explanation: dict[str, Any] | None) -> None:
    """Make sure that what was measured of a model's explanations has a method, and its figures are numbers.

    Args:
        explanation: Field of a configuration; None where nothing was measured.

    Raises:
        ValueError: It hasn't.
    """
    if explanation is None:
        return
    figures = explanation.get("comprehensiveness")
    is_measured = isinstance(figures, dict) and all(type(each) in (int, float) for each in figures.values())
    require(
        is_measured
        and explanation.get("method") in (figures or {})
        and all(type(explanation.get(name)) in (int, float) for name in ("random", "texts")),
        f"explanation = {explanation!r} must name a method, the comprehensiveness of each, of random words, and texts",
    )
    naopc = explanation.get("naopc")
    if naopc is not None:
        known = naopc if isinstance(naopc, dict) else {}
        by_name = [known.get("methods"), known.get("p_values", {})]  # earlier versions didn't test
        numbers = [known.get("random"), known.get("texts")]
        numbers += [value for each in by_name for value in (each.values() if isinstance(each, dict) else [None])]
        require(
            all(type(each) in (int, float) for each in numbers),
            f"explanation's naopc = {naopc!r} must have numbers: methods and p_values by name, random, and texts",
        )


def problem_type_of(config: Any) -> str:
    """What a classifier answers by its configuration; as transformers takes it where nothing is said."""
    return config.problem_type or ("regression" if config.num_labels == 1 else "single_label_classification")


def names_by_id(id2label: dict[Any, str] | None) -> dict[int, str]:
    """Names of the classes by their ids, which json turns into text."""
    return {int(index): name for index, name in (id2label or {}).items()}
