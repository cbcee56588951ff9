"""Forms in which answers are compared, by rules that tasks other than Python need."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.core.correctness import is_correct, number_form, same_answer, text_form
from models.core.metrics.scores import score
from models.core.metrics.text_metrics import token_f1
from models.core.shell import command_name, shell_form


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        # White space, the prompt, and quotes that change nothing.
        ("ls  -la   docs", "ls -al docs", True),
        ("cat a>b", "cat a > b", True),
        ("$ ls", "ls", True),
        ("sort words.txt | uniq -c", "sort words.txt|uniq -c", True),
        ("echo 'a b'", 'echo "a b"', True),
        (r"echo a\ b", "echo 'a b'", True),
        ('echo "say \\"hi\\""', """echo 'say "hi"'""", True),
        ("find . -name '*.py'", 'find . -name "*.py"', True),
        ("echo 'open", "echo  'open", True),
        # Quotes that change something.
        ("ls '*.txt'", "ls *.txt", False),
        ("echo '$x'", 'echo "$x"', False),
        ("echo $x", 'echo "$x"', False),
        ("rm a", "rm 'a b'", False),
        ("rm a b", "rm 'a b'", False),
        ("echo ''", "echo", False),
        ("echo 'a|b'", "echo a|b", False),
        ("echo 'open", "echo open", False),
        # Flags of known programs: order, short and long names, values.
        ("ls -la", "ls -a -l", True),
        ("ls docs -l", "ls -l docs", True),
        ("ls --all -l", "ls -la", True),
        ("grep -A 3 -B 2 x", "grep -B2 -A3 x", True),
        ("grep --ignore-case --max-count=2 x f", "grep -im 2 x f", True),
        ("head -5 f", "head -n 5 f", True),
        ("head -n5 f", "head --lines 5 f", True),
        ("tar xzf a.tgz", "tar -x -z -f a.tgz", True),
        ("tar -xf a.tar -C out", "tar xf a.tar --directory=out", True),
        ("sudo ls -la | sort -nr", "sudo ls -al | sort --reverse --numeric-sort", True),
        ("grep -e a -e b f", "grep -e b -e a f", True),
        ("rm -- -f", "rm -f", False),
        ("grep -A 3 -B 2 x", "grep -B 3 -A 2 x", False),
        ("head -n 5 f", "head -c 5 f", False),
        ("sort -k 2", "sort -k 3", False),
        ("curl -vv url", "curl -v url", False),
        ("ls -l", "ls --l", False),
        ("ls -l", "ls -L", False),
        # Flags of other programs are words.
        ("find . -name x", "find . -eman x", False),
        ("java -cp a", "java -pc a", False),
        ("foo -ab", "foo -a -b", False),
        # Operands, operators, placeholders.
        ("cp a b", "cp b a", False),
        ("a && b", "a; b", False),
        ("a | b", "a || b", False),
        ("cat a 2>b", "cat a >b", False),
        ("tar xf {{path/to/file.tar}}", "tar xf {{archive}}", True),
        ("cat '{{file}}'", "cat {{path}}", True),
        ("tar xf {{archive}}", "tar xf archive", False),
        ("docker ps --format '{{.ID}}'", "docker ps --format '{{.Names}}'", False),
    ],
)
def test_commands_are_the_same_but_for_their_form(one: str, other: str, same: bool) -> None:
    assert same_answer("shell", one, other) is same
    assert is_correct("shell", f"Because. The answer is {one}", other) is same
    assert not is_correct("shell", one, other)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("42", "42.0", True),
        ("$42.00", "42", True),
        (r"$\boxed{42}$", "**42**", True),
        ("40 + 2 = 42 apples", "42", True),
        ("He has 40 left.\n#### 42", "42", True),
        ("x = 42, so it is the answer", "42", True),
        ("1,234.50", "1234.5", True),
        ("0.5", "1/2", True),
        (r"\frac{1}{2}", ".5", True),
        ("50 %", "50", True),
        ("\u2212 7", "-7", True),
        ("3 and 5", "3.0 and the 5", True),
        ("Twelve", "twelve", True),
        ("1/0", "1 / 0", True),
        ("9" * 5000, "9" * 5000, True),
        ("-3", "3", False),
        ("10-3", "-3", False),
        ("3.14", "314", False),
        ("12,5", "12.5", False),
        ("3 and 5", "5 and 3", False),
        ("42", "43", False),
        ("42", "forty-two", False),
        ("", "0", False),
    ],
)
def test_numbers_are_the_same_whatever_stands_around_them(one: str, other: str, same: bool) -> None:
    assert same_answer("number", one, other) is same
    assert same_answer("number", other, one) is same


def test_texts_are_the_same_but_for_case_punctuation_and_articles() -> None:
    assert same_answer("text", "The 12 dollars!", "12  Dollars")
    assert not same_answer("text", "12 dollars", "13 dollars")
    assert not same_answer("text", "", "")


@given(st.text(max_size=40))
def test_forms_raise_nothing(text: str) -> None:
    assert shell_form(text) == shell_form(text)
    assert text_form(text_form(text)) == text_form(text)
    assert number_form(number_form(text)) == number_form(text)


def test_token_f1_counts_what_is_shared() -> None:
    assert token_f1("ls -l", "LS -l") == 1
    assert token_f1("a b", "a c") == 0.5
    assert token_f1("", "a") == 0
    scores = score(["a b", "x"], ["a c", "x"])
    assert scores["token_f1"] == 75
    assert scores["accuracy"] == 50


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("ls -la docs", "ls"),
        ("$ sudo ls | wc -l", "ls"),
        ("sort<words.txt", "sort"),
        ("'git' log", "git"),
        ("sudoedit f", "sudoedit"),
        ("`uptime`", "uptime"),
        ("(cd docs && ls)", "cd"),
        ("", ""),
        (" | ", ""),
    ],
)
def test_command_name(command: str, name: str) -> None:
    assert command_name(command) == name
    assert score([command], [name])["command_accuracy"] == (100 if name else 0)


def test_command_accuracy_asks_for_the_program_only() -> None:
    predictions = ["tar -cf b a", "gzip x", "", "{{a}} x"]
    assert score(predictions, ["tar -xf a", "ls x", "ls", "{{b}} y"])["command_accuracy"] == 50
