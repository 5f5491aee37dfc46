"""Graphs for SNAP: every parameter said, checked before anything runs, the same text every time (D99, D100)."""

import re
import xml.etree.ElementTree as ET
from dataclasses import fields, replace
from pathlib import Path

import pytest

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.sources.snap import chains, operators, schema
from m3leo_prep.sources.snap.chains import Grid, Looks
from m3leo_prep.sources.snap.graph import Graph, check

GRAPHS = Path(__file__).with_name("graphs")
GRID = Grid(32632, 10.0)
OUT = Path("/work/output.dim")
FIRST, SECOND = Path("/data/first.SAFE.zip"), Path("/data/second.SAFE.zip")
MADE = {
    "rtc": chains.rtc(FIRST, OUT, GRID, ("VV", "VH")),
    "rtc-filtered-incidence": chains.rtc(FIRST, OUT, GRID, ("VV",), incidence=True, filtered=True),
    "coherence": chains.coherence(FIRST, SECOND, OUT, GRID, "VV", window=Looks(20, 5), looks=Looks(4, 1)),
    "interferogram-one-swath": chains.coherence(
        FIRST, SECOND, OUT, GRID, "VH", swaths=("IW2",), window=Looks(10, 3), looks=Looks(4, 1), interferogram=True
    ),
    "h-a-alpha": chains.decomposition(FIRST, OUT, GRID, ("VV", "VH"), looks=Looks(4, 1), window=5),
}
OPERATORS = operators.Operator.__subclasses__()


def text(name="rtc", release=13):
    return MADE[name].xml(release)


@pytest.mark.parametrize("release", schema.releases())
@pytest.mark.parametrize("name", MADE)
def test_every_chain_is_what_every_release_takes(name, release):
    """D99: checked when it is written; no node is left over."""
    check(text(name, release), release)
    assert MADE[name].output() == OUT
    assert MADE[name].inputs()[0] == FIRST


@pytest.mark.parametrize("name", MADE)
def test_the_graph_is_the_one_that_was_looked_at(name):
    """D100: the file is the text, letter for letter. A change of it must be meant: results get another name by it."""
    path = GRAPHS / f"{name}.xml"
    assert path.read_text() == text(name), f"if this change is meant, write the new text to {path.name}"


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.alias)
def test_an_operator_has_all_parameters_and_no_other(operator):
    newest = schema.declared(operator.alias, max(schema.releases()))
    assert {field.name for field in fields(operator)} == {schema.ours(name) for name in newest.parameters}


def values(name, operator, release=14):
    for node in ET.fromstring(text(name, release)).iter("node"):
        if node.findtext("operator") == operator:
            yield {one.tag: one.text or "" for one in node.find("parameters")}


def test_what_hurts_or_drifts_is_said_explicitly():
    """Table 2.1 of the domain's facts: values in which SNAP's own defaults lose or shift data, or change by release."""
    (flattened,) = values("rtc", "Terrain-Flattening")
    (corrected,) = values("rtc", "Terrain-Correction")
    for one in (flattened, corrected):
        assert one["nodataValueAtSea"] == "false"
        assert one["externalDEMApplyEGM"] == "true"
        assert one["demName"] == "Copernicus 30m Global DEM"
        assert one["externalDEMFile"] == ""
    assert corrected["alignToStandardGrid"] == "true"
    assert corrected["mapProjection"] == "EPSG:32632"
    assert corrected["pixelSpacingInMeter"] == "10.0"
    assert corrected["saveLayoverShadowMask"] == "true"
    (calibrated,) = values("rtc", "Calibration")
    assert (calibrated["outputSigmaBand"], calibrated["outputBetaBand"]) == ("false", "true")
    (noise,) = values("rtc", "ThermalNoiseRemoval")
    assert noise["clipNegativeValues"] == "false"
    (border,) = values("rtc", "Remove-GRD-Border-Noise")
    assert (border["borderLimit"], border["trimThreshold"]) == ("500", "0.5")
    for orbit in (*values("rtc", "Apply-Orbit-File"), *values("coherence", "Apply-Orbit-File")):
        assert orbit == {
            "orbitType": "Sentinel Precise (Auto Download)",
            "polyDegree": "3",
            "continueOnFail": "false",
        }
    pairs = list(values("coherence", "Coherence"))
    assert len(pairs) == 3
    assert {(one["cohWinRg"], one["cohWinAz"], one["correctCoherenceBias"]) for one in pairs} == {("20", "5", "false")}
    (decomposed,) = values("h-a-alpha", "Polarimetric-Decomposition")
    assert decomposed["decomposition"] == "H-Alpha Dual Pol Decomposition"


def test_parameters_that_a_release_does_not_know_are_not_given_to_it():
    """From the sources of the toolbox: given to an older one, they are an unknown element and the run fails."""
    assert "clipNegativeValues" not in text("rtc", 13)
    assert "applyAPDCorrection" not in text("rtc", 13)
    assert "enableSingleSwathMode" in text("coherence", 13)
    assert "enableSingleSwathMode" not in text("coherence", 12)
    assert "outputDNBand" not in text("rtc", 14), "commented out in all of them, though the list of parameters names it"


@pytest.mark.parametrize("name", ["rtc", "rtc-filtered-incidence"])
def test_borders_are_found_in_amplitudes(name):
    """Of products of before IPF 2.9: after noise removal there are intensities, and only of what is asked for."""
    order = [node.operator.alias for node in MADE[name].nodes]
    kept = [step for step in order if step in {"Remove-GRD-Border-Noise", "ThermalNoiseRemoval", "Calibration"}]
    assert kept == ["Remove-GRD-Border-Noise", "ThermalNoiseRemoval", "Calibration"]


def test_the_second_product_is_brought_to_the_first():
    root = ET.fromstring(text("interferogram-one-swath"))
    nodes = {node.get("id"): [one.get("refid") for one in node.find("sources")] for node in root.iter("node")}
    read = {node.get("id"): node.findtext("parameters/file") for node in root.iter("node")}
    paths = []
    for split in nodes["Back-Geocoding-IW2"]:
        (orbit,) = nodes[split]
        (read_id,) = nodes[orbit]
        paths.append(read[read_id])
    assert paths == [str(FIRST), str(SECOND)]
    assert not any("TOPSAR-Merge" in name for name in nodes), "one swath is joined with nothing"


def broken(pattern, replacement, name="rtc", count=1):
    changed, n = re.subn(pattern, replacement, text(name), count=count, flags=re.DOTALL)
    assert n, pattern
    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("<operator>Calibration<", "<operator>Calibratoin<"), "no operator 'Calibratoin'"),
        (
            ("<polyDegree>3</polyDegree>", "<polyDegree>3</polyDegree><outputDNBand>false</outputDNBand>"),
            "no parameter",
        ),
        (("<polyDegree>3</polyDegree>", ""), "left to SNAP's default"),
        (("<polyDegree>3<", "<polyDegree>three<"), "is no integer"),
        (("<nodataValueAtSea>false<", "<nodataValueAtSea>False<"), "is no boolean"),
        (("<auxFile>Latest Auxiliary File<", "<auxFile>Oldest<"), "is none of"),
        (("<additionalOverlap>0.1<", "<additionalOverlap>1.5<"), "not in \\[0, 1\\]"),
        (('refid="Calibration"', 'refid="Calibrated"'), "no node 'Calibrated'"),
        (('refid="Read"', 'refid="Calibration"'), "needs itself"),
        (('<node id="Calibration">', '<node id="Read">'), "two nodes"),
        (('<node id="Write">.*?</node>', ""), "writes 0 products"),
        (('<sourceProduct refid="Calibration" ?/>', ""), "takes 0 products, not 1"),
        (("</graph>", ""), "no XML"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_graph_is_refused_before_it_runs(change, message):
    """D99."""
    with pytest.raises(ConfigError, match=message):
        check(broken(*change), 13)


def test_two_results_or_a_useless_step_are_refused():
    write = re.search(r'<node id="Write">.*?</node>', text(), re.DOTALL)[0]
    with pytest.raises(ConfigError, match="writes 2 products"):
        check(text().replace(write, write + write.replace('"Write"', '"Write-2"')), 13)
    read = re.search(r'<node id="Read">.*?</node>', text(), re.DOTALL)[0]
    with pytest.raises(ConfigError, match="nothing needs: Read-2"):
        check(text().replace(read, read + read.replace('"Read"', '"Read-2"')), 13)


def test_intervals_include_their_ends_where_the_bracket_is_square():
    half_open = schema.Parameter("alpha", "number", interval="(0, 1]")
    assert [bool(half_open.fault(one)) for one in ("0", "0.001", "1", "1.001")] == [True, False, False, True]
    endless = schema.Parameter("looks", "integer", interval="[1, *)")
    assert [bool(endless.fault(one)) for one in ("0", "1", "999")] == [True, False, False]


def test_a_value_outside_the_set_does_not_pass_through_the_typed_value_either():
    nodes = MADE["rtc"].nodes
    at = next(k for k, node in enumerate(nodes) if node.operator.alias == "Terrain-Correction")
    wrong = replace(nodes[at].operator, img_resampling_method="LANCZOS")
    graph = Graph((*nodes[:at], replace(nodes[at], operator=wrong), *nodes[at + 1 :]))
    with pytest.raises(ConfigError, match="imgResamplingMethod"):
        graph.xml(13)
