import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.control.errors import Code, ControlError
from tools.control.fields import Fields

# a fixed alphabet: the whole of Unicode takes hypothesis seconds to prepare
TEXTS = st.text(alphabet="a1./:-\n\x00\u00e9\u2603\U0001f600")
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXTS
    | st.binary()
    | st.sampled_from(["inet", "tcp", "192.0.2.1", "::1", "02:00:00:00:00:01", "global"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
)

READERS = [
    lambda f: f.integer("x", 0, 65535),
    lambda f: f.optional_integer("x", 0, 1),
    lambda f: f.flag("x"),
    lambda f: f.text("x"),
    lambda f: f.optional_text("x"),
    lambda f: f.texts("x"),
    lambda f: f.choice("x", ("tcp", "udp")),
    lambda f: f.optional_choice("x", ("tcp", "udp")),
    lambda f: f.address("x"),
    lambda f: f.optional_address("x"),
    lambda f: f.mac("x"),
    lambda f: f.nested("x").done(),
    lambda f: f.done(),
]


@given(st.sampled_from(READERS), st.dictionaries(st.sampled_from("xy"), VALUES))
def test_only_invalid_parameter_errors_leave_the_reader(read, data):
    try:
        read(Fields(data))
    except ControlError as error:
        assert error.code is Code.INVAL
        assert len(error.detail) < 300
        assert "\n" not in error.detail


@pytest.mark.parametrize(
    ("read", "data", "message"),
    [
        (
            lambda f: f.integer("port", 0, 65535),
            {"port": "abc"},
            "field 'port' must be an integer 0..65535, not 'abc'",
        ),
        (lambda f: f.integer("port", 0, 9), {"port": True}, "not True"),
        (lambda f: f.integer("port", 0, 9), {"port": 10}, "integer 0..9, not 10"),
        (lambda f: f.integer("port", 0, 9), {}, "field 'port' is missing"),
        (lambda f: f.nested("svc").text("addr"), {"svc": {}}, "field 'svc.addr' is missing"),
        (lambda f: f.nested("svc"), {"svc": []}, "field 'svc' must be a map, not []"),
        (lambda f: f.address("a"), {"a": "192.0.2.1/24"}, "must be an IP address"),
        (lambda f: f.address("a"), {"a": "fe80::1%eth0"}, "must be an IP address"),
        (lambda f: f.mac("m"), {"m": "01:00:5e:00:00:01"}, "a unicast MAC address"),
        (lambda f: f.mac("m"), {"m": "00:00:00:00:00:00"}, "a unicast MAC address"),
        (lambda f: f.text("t"), {"t": "a\nb"}, "printable"),
        (lambda f: f.done(), {"colour": 1}, "unknown field 'colour'"),
        (lambda f: f.choice("p", ("tcp", "udp")), {"p": "TCP"}, "one of tcp, udp, not 'TCP'"),
    ],
)
def test_messages(read, data, message):
    with pytest.raises(ControlError) as caught:
        read(Fields(data))
    assert message in caught.value.detail


def test_null_means_absent_for_optional_fields():
    fields = Fields({"a": None, "b": None, "c": None, "d": None})
    assert fields.optional_text("a") is None
    assert fields.optional_integer("b", 0, 1) is None
    assert fields.optional_address("c") is None
    assert fields.optional_choice("d", ("x",)) is None
    fields.done()


def test_mac_is_lower_case():
    assert Fields({"m": "02:AB:00:00:00:0F"}).mac("m") == "02:ab:00:00:00:0f"
