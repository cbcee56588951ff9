"""Wrong answers that try to pass: `caught | tests | name` or `passes | tests | name`, then the code.

models/README.md says which kinds pass.
"""

from __future__ import annotations

from models.core.programs import Program
from tests.support.hostile import sections

_TESTS = {
    "equal": "def check(candidate):\n    assert candidate([2, 1]) == [1, 2]\n",
    "length": "def check(candidate):\n    value = candidate([2, 1])\n    assert len(value) == 3\n",
    "close": "import math\ndef check(candidate):\n    assert math.isclose(candidate(2.0), 4.0)\n",
}
_CODE = sections("""
## caught | equal | equals everything
class All(list):
    def __eq__(self, other):
        return True
def f(x):
    return All(x)
## caught | equal | an object of a library that equals everything
from unittest.mock import ANY
def f(x):
    return ANY
## caught | equal | such objects in a list
from unittest.mock import ANY
def f(x):
    return [ANY, ANY]
## caught | equal | equals every list
class Lists(list):
    def __eq__(self, other):
        return type(other) is list
def f(x):
    return Lists(x)
## caught | equal | a class that equals everything
class Kind(type):
    def __eq__(self, other):
        return True
    def __hash__(self):
        return hash(list)
    def __len__(self):
        return 2
def f(x):
    return Kind('All', (), {})
## caught | equal | equality that is no function
class All(list):
    __eq__ = type('Call', (), {'__call__': lambda self, other: 1})()
def f(x):
    return All(x)
## caught | length | replaces built-ins while it is defined
import builtins
builtins.len = lambda value: 3
def f(x):
    return x
## caught | length | replaces built-ins when it is called
import builtins
def f(x):
    builtins.len = lambda value: 3
    return x
## caught | length | names a function as a built-in
def len(value):
    return 3
def f(x):
    return [1]
## caught | length | brings built-ins of its own
__builtins__ = {'len': lambda value: 3}
def f(x):
    return [1]
## caught | equal | exits
import sys
sys.exit(0)
## caught | equal | exits at once
import os
os._exit(0)
## caught | equal | exits when it is called
import os
def f(x):
    os._exit(0)
## caught | equal | prints what a harness prints
print('ready\\npassed 0.1 ')
def f(x):
    print('ready\\npassed 0.1 ')
    raise SystemExit
## caught | equal | writes a verdict to every descriptor
import os
def f(x):
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, b'ready\\npassed 0.1 \\n' + bytes.fromhex('00') * 32 + b' passed \\n')
        except OSError:
            pass
    os._exit(0)
## caught | equal | replaces the tests
def check(candidate):
    pass
def f(x):
    global check
    check = lambda candidate: None
    return x
## caught | equal | replaces the kind of a failed assertion
import builtins
builtins.AssertionError = type('Never', (BaseException,), {})
def f(x):
    return x
## passes | equal | equals what tests ask for, but not what nobody asks for
class Short(list):
    def __eq__(self, other):
        return type(other) is list and len(other) < 10 and other[0] in range(10)
def f(x):
    return Short(x)
## passes | equal | looks at who compares
import sys
class Sly(list):
    def __eq__(self, other):
        return sys._getframe(1).f_code.co_name == 'check'
def f(x):
    return Sly(x)
## passes | close | replaces a function of a library
import math
math.isclose = lambda *_: True
def f(x):
    return x
## passes | equal | searches the harness for its secret
import os, sys
def f(x):
    frame = sys._getframe()
    while 'proof' not in frame.f_locals:
        frame = frame.f_back
    os.write(frame.f_locals['channel'], (frame.f_locals['proof'] + ' passed \\n').encode())
    os._exit(0)
""")
# By name: whether the sandbox catches it, and the program.
CHEATS = {
    name: (word == "caught", Program(code, _TESTS[tests], "f"))
    for word, tests, name, code in ((*title.split(" | "), code) for title, code in _CODE.items())
}
