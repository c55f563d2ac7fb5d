"""Prints a Program: a header with the interface, a source with the calls, the weights, and the kernels it uses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from toolchain.backends.c.kernels import kernel_sources
from toolchain.backends.c.literals import array_rows, floating, member
from toolchain.backends.c.loops import MEMORY, Argument, CallText
from toolchain.backends.c.runs import push_body, run_body
from toolchain.ir.graph import Value
from toolchain.lowering.kernels.common import c_type
from toolchain.lowering.lifetimes import scratch_name
from toolchain.lowering.moves import slot_of
from toolchain.lowering.program import LINK_BYTES, NO_CODE, WAIT_VARIANT, KernelCall, Operand, Program
from toolchain.lowering.slices import row_bytes

CFLAGS = ("-O2", "-fomit-frame-pointer", "-fno-strict-aliasing", "-ffp-contract=off")
SHARED_FROM = 3
WEIGHT_ALIGN, CACHE_LINE = 8, 64
CACHED = frozenset({"aarch64", "x86_64"})
"""Architectures whose kernels load weights by registers as wide as a line of the cache, or nearly."""
SMALL_CFLAGS = ("-Os", *CFLAGS[1:])


@dataclass(frozen=True, slots=True)
class CFiles:
    """The printed program. files: text by path relative to the bundle; the rest is the manifest's `c` object."""

    files: dict[str, str]
    header: str
    sources: tuple[str, ...]
    include_dirs: tuple[str, ...]
    cflags: tuple[str, ...]


def print_c(program: Program, name: str, io: str = "arena", *, small: bool = False) -> CFiles:
    """The C files of a program. name: prefix of every symbol, a C identifier. io: `arena`, `caller` or `rows`.

    small: compiled for size rather than for speed; kernels of many shapes have one copy where that is smaller.
    """
    source = _Source(program, name, io, small)
    sources = kernel_sources({call.header for call in program.calls} | {"common.h"}, program.target.core.kernels)
    files = {
        f"c/{name}.h": source.header(),
        f"c/{name}.c": source.program(),
        f"c/{name}_weights.h": source.weights(),
        **{f"c/strop/{file}": text for file, text in sources.items()},
    }
    return CFiles(files, f"c/{name}.h", (f"c/{name}.c",), ("c",), SMALL_CFLAGS if small else CFLAGS)


class _Source:
    """Texts of one program; names of wrappers and constants are numbered in call order."""

    def __init__(self, program: Program, name: str, io: str, small: bool) -> None:
        self.graph, self.calls, self.plan, self.program_ = program.graph, _printed(program.calls), program.plan, program
        self.name, self.io = name, io
        self.constant_names = {c.key: f"{name}_data_{i}" for i, c in enumerate(program.constants())}
        self.wrappers: dict[tuple[object, ...], str] = {}
        for call in self.calls:
            base = f"{name}_{call.function.removeprefix('strop_')}"
            self.wrappers.setdefault(_wrapper_key(call), f"{base}_{len(self.wrappers)}")
        shapes = Counter(key[0] for key in self.wrappers)
        generic = {call.function for call in program.calls if call.generic}
        self.shared = {function for function in generic if small and shapes[function] >= SHARED_FROM}

    def header(self) -> str:
        """The interface: sizes, quantization, functions."""
        upper, name = self.name.upper(), self.name
        lines = [
            f"/* {name}: a network compiled by Strop for {self.program_.target.name}. See manifest.json. */",
            f"#ifndef {upper}_H",
            f"#define {upper}_H",
            "",
            "#include <stdint.h>",
            "",
            "#ifdef __cplusplus",
            'extern "C" {',
            "#endif",
            "",
            f"#define {upper}_ARENA_BYTES {self.plan.first_bytes} /* all RAM but the stack{self._besides()} */",
            f"#define {upper}_ARENA_ALIGN {self.plan.align}",
        ]
        for number, bank in enumerate(self.plan.further, 1):
            lines.append(f"#define {upper}_ARENA_{number}_BYTES {bank.bytes} /* in {bank.memory}, aligned as the first */")
        for kind, values in (("INPUT", self.program_.inputs), ("OUTPUT", self.graph.outputs)):
            for index, value in enumerate(values):
                lines += ["", *_tensor_macros(f"{upper}_{kind}_{index}", value)]
                if value is self.program_.pushed:
                    lines.append(f"#define {upper}_INPUT_0_ROWS {value.type.shape[1]}")
                    lines.append(f"#define {upper}_INPUT_0_ROW_BYTES {row_bytes(value)}")
        lines += ["", f"#define {upper}_ERROR_ARENA 1 /* the arena is null or not aligned */", ""]
        lines += [f"{prototype};" for prototype in self._prototypes()]
        return "\n".join([*lines, "", "#ifdef __cplusplus", "}", "#endif", "", "#endif", ""])

    def _prototypes(self) -> list[str]:
        name = self.name
        begins = " Begins with the first row." if self.io == "rows" else ""
        keeps = " From here on the arenas are the program's: it keeps things there between runs." if self._keeps else ""
        found = [f"/* Returns 0, or an error code above.{begins}{keeps} */\n{self._init_head()}"]
        if self.io == "caller":
            return [*found, self._run_head()]
        for index, value in enumerate(self.program_.inputs):
            when = "Fill before every run" if self.io == "arena" else "Room for the next row: fill before every push"
            note = f"/* {when}; valid until then. */\n" if index == 0 else ""
            found.append(f"{note}{c_type(value.type, value.name)} *{name}_input_{index}(void *arena)")
        if self.io == "rows":
            note = (
                "/* Takes the next row. Returns the rows still missing, 0: the output is there; below 0: minus an error code. */"
            )
            found.append(f"{note}\n{self._run_head()}")
        else:
            found.append(self._run_head())
        for index, value in enumerate(self.graph.outputs):
            note = f"/* Valid until the next input write or {'push' if self.io == 'rows' else 'run'}. */\n" if index == 0 else ""
            found.append(f"{note}const {c_type(value.type, value.name)} *{name}_output_{index}(const void *arena)")
        return found

    @property
    def _keeps(self) -> bool:
        """True when the arena holds something from one run to the next."""
        return bool(self.plan.further or self.plan.copied)

    def _besides(self) -> str:
        return f" and {len(self.plan.further)} more arena{'s'[: len(self.plan.further) - 1]}" if self.plan.further else ""

    def _arenas(self) -> list[str]:
        return ["arena", *(f"arena_{number}" for number in range(1, len(self.plan.further) + 1))]

    def _init_head(self) -> str:
        return f"int {self.name}_init({', '.join(f'void *{arena}' for arena in self._arenas())})"

    def _run_head(self) -> str:
        parameters = ["void *arena"]
        if self.io == "caller":
            parameters += [f"const {c_type(v.type, v.name)} *input_{i}" for i, v in enumerate(self.program_.inputs)]
            parameters += [f"{c_type(v.type, v.name)} *output_{i}" for i, v in enumerate(self.graph.outputs)]
        return f"int {self.name}_{'push_row' if self.io == 'rows' else 'run'}({', '.join(parameters)})"

    def weights(self) -> str:
        """All packed constants."""
        lines = ["/* Packed weights; the layout of each is in the head of the kernel that reads it. */"]
        align = CACHE_LINE if self.program_.target.core.architecture in CACHED else WEIGHT_ALIGN
        for constant in self.program_.constants():
            name = self.constant_names[constant.key]
            count = constant.data.shape[0] if constant.data.ndim == 2 else constant.data.size
            lines.append(f"static const _Alignas({align}) {constant.ctype} {name}[{max(count, 1)}] = {{")
            lines += list(array_rows(constant.data)) if count else ["0"]
            lines += ["};", ""]
        return "\n".join(lines)

    def program(self) -> str:
        """Wrappers and the interface functions."""
        headers = sorted({call.header for call in self.calls} | {"common.h"})
        lines = [f'#include "{self.name}.h"', "", *(f'#include "strop/{header}"' for header in headers)]
        lines += ["", f'#include "{self.name}_weights.h"', ""]
        seen: set[str] = set()
        for call in self.calls:
            wrapper = self.wrappers[_wrapper_key(call)]
            if wrapper not in seen:
                seen.add(wrapper)
                lines += [*self._wrapper(call, wrapper), ""]
        return "\n".join([*lines, *self._interface(), ""])

    def _interface(self) -> list[str]:
        name, upper = self.name, self.name.upper()
        check = f"(uintptr_t)arena % {upper}_ARENA_ALIGN != 0"
        counter = self.plan.row_counter
        lines = [*self._init(), ""]
        if self.io != "caller":
            for index, value in enumerate(self.program_.inputs):
                ctype = c_type(value.type, value.name)
                at = self.plan.offset(value.name if self.program_.pushed is None else slot_of(value))
                place = f"({ctype} *)({self._at(at)})"
                lines += [f"{ctype} *{name}_input_{index}(void *arena) {{ return {place}; }}", ""]
            for index, value in enumerate(self.graph.outputs):
                ctype = c_type(value.type, value.name)
                place = f"(const {ctype} *)({self._at(self.plan.offset(value.name), 'const ')})"
                lines += [f"const {ctype} *{name}_output_{index}(const void *arena) {{ return {place}; }}", ""]
        sign = "" if counter is None else "-"
        lines += [
            f"{self._run_head()} {{",
            f"    if (arena == NULL || {check}) {{",
            f"        return {sign}{upper}_ERROR_ARENA;",
            "    }",
            "    uint8_t *const a = arena;",
            "    (void)a;",
        ]
        for number in sorted({self.plan.bank(placed.offset) for placed in self.plan.placements} - {0}):
            lines += [f"    uint8_t *const {_bank(number)} = {self._link(number)};", f"    (void){_bank(number)};"]
        if self.io == "caller":
            lines += [f"    (void)input_{index};" for index in range(len(self.graph.inputs))]
        if counter is None:
            return [*lines, *run_body([(call.segment, self._call(call)) for call in self.calls]), "}"]
        groups: list[list[tuple[int | None, CallText]]] = []
        for call in self.program_.calls:
            if call.variant == WAIT_VARIANT:
                groups.append([])
            elif call.variant not in NO_CODE:
                groups[-1].append((call.segment, self._call(call)))
        rows = self.program_.inputs[0].type.shape[1]
        return [*lines, *push_body(groups, rows, counter), "}"]

    def _init(self) -> list[str]:
        """The function that checks the arenas, and writes what they keep from one run to the next."""
        upper, plan = self.name.upper(), self.plan
        bad = [f"{arena} == NULL || (uintptr_t){arena} % {upper}_ARENA_ALIGN != 0" for arena in self._arenas()]
        if plan.row_counter is None and not self._keeps:
            return [f"{self._init_head()} {{", f"    return {bad[0]} ? {upper}_ERROR_ARENA : 0;", "}"]
        lines = [f"{self._init_head()} {{"]
        for each in bad:
            lines += [f"    if ({each}) {{", f"        return {upper}_ERROR_ARENA;", "    }"]
        if plan.row_counter is not None:
            lines.append(f"    *(int32_t *)((uint8_t *)arena + {plan.row_counter}) = 0;")
        lines += [f"    {self._link(number)} = {arena};" for number, arena in enumerate(self._arenas()) if number]
        for name, constant in plan.copied.items():
            number, at = plan.bank(plan.offset(name)), self._inside(plan.offset(name))
            source = self.constant_names[constant.key]
            lines.append(f"    __builtin_memcpy((uint8_t *){self._arenas()[number]} + {at}, {source}, sizeof {source});")
        return [*lines, "    return 0;", "}"]

    def _link(self, number: int) -> str:
        """Where the first bank holds the address of another one."""
        return f"*(uint8_t **)((uint8_t *)(uintptr_t)arena + {self.plan.links + LINK_BYTES * (number - 1)})"

    def _inside(self, offset: int) -> int:
        """An offset of the plan as one within its bank."""
        number = self.plan.bank(offset)
        return offset - self.plan.further[number - 1].first if number else offset

    def _at(self, offset: int, qualifier: str = "") -> str:
        """The address of an offset of the plan, from the pointer to the first bank."""
        number = self.plan.bank(offset)
        base = self._link(number) if number else f"({qualifier}uint8_t *)arena"
        return f"{base} + {self._inside(offset)}"

    def _memory(self, pointer: str, offset: int, within: int = 0) -> Argument:
        """The argument that points to an offset of the plan, and so many bytes from there."""
        number = self.plan.bank(offset)
        return Argument(pointer, _bank(number), self._inside(offset) + within)

    def _wrapper(self, call: KernelCall, wrapper: str) -> list[str]:
        """What specialises a kernel for one shape; of a shared kernel the shape, behind the first one also its only copy."""
        if call.function not in self.shared:
            return _wrapper(call, wrapper)
        shape = _shape(call, f"static const {call.shape_type} {wrapper} = {{", "")
        first = next(each for each in self.calls if each.function == call.function)
        return [*shape, "", *_shared(call, self._shared_name(call))] if first is call else shape

    def _shared_name(self, call: KernelCall) -> str:
        return f"{self.name}_{call.function.removeprefix('strop_')}"

    def _call(self, call: KernelCall) -> CallText:
        arguments = tuple(self._argument(call, i, operand) for i, operand in enumerate(call.operands))
        wrapper = self.wrappers[_wrapper_key(call)]
        if call.function in self.shared:
            return CallText(self._shared_name(call), (*arguments, f"&{wrapper}"))
        return CallText(wrapper, arguments)

    def _argument(self, call: KernelCall, index: int, operand: Operand) -> str | Argument:
        pointer = f"{operand.ctype} *" if operand.is_written else f"const {operand.ctype} *"
        if operand.constant is not None and operand.place is None:
            return self.constant_names[operand.constant.key]
        if operand.place is not None:
            return self._memory(pointer, self.plan.offset(operand.place), operand.offset)
        if operand.value is None:
            return self._memory(pointer, self.plan.offset(scratch_name(call, index)))
        root = self.program_.root_of[operand.value.name]
        if root not in self.plan.buffer_of:
            return Argument(pointer, self._outside(root, operand), operand.offset)
        return self._memory(pointer, self.plan.offset(root), operand.offset)

    def _outside(self, root: str, operand: Operand) -> str:
        """The pointer to a buffer that the caller owns; as bytes where the operand is not all of it."""
        root_of = self.program_.root_of
        for kind, values in (("input", self.program_.inputs), ("output", self.graph.outputs)):
            for index, candidate in enumerate(values):
                if root_of[candidate.name] == root:
                    bytes_ = "uint8_t *" if operand.writable else "const uint8_t *"
                    whole = operand.rows is None and not operand.offset
                    return f"{kind}_{index}" if whole else f"({bytes_}){kind}_{index}"
        raise KeyError(f"{root} has no place in the arena and is no input or output")


def _bank(number: int) -> str:
    """The C name of a bank in a program's run function."""
    return f"{MEMORY}{number}" if number else MEMORY


def _printed(calls: Sequence[KernelCall]) -> tuple[KernelCall, ...]:
    """The calls that are code."""
    return tuple(call for call in calls if call.variant not in NO_CODE)


def _wrapper_key(call: KernelCall) -> tuple[object, ...]:
    return (call.function, call.shape, tuple((o.ctype, o.is_written) for o in call.operands))


def _signature(call: KernelCall) -> tuple[str, str]:
    """Parameters p0, p1, … of a call's operands, and the same as arguments."""
    types = [f"{o.ctype} *" if o.is_written else f"const {o.ctype} *" for o in call.operands]
    return ", ".join(f"{ctype}p{i}" for i, ctype in enumerate(types)), ", ".join(f"p{i}" for i in range(len(types)))


def _shape(call: KernelCall, head: str, indent: str) -> list[str]:
    """The definition of a call's shape."""
    fields = f",\n{indent}    ".join(f".{field.name} = {member(field.value)}" for field in call.shape)
    return [f"{indent}{head}", f"{indent}    {fields},", f"{indent}}};"]


def _wrapper(call: KernelCall, name: str) -> list[str]:
    """The function that specialises a kernel for one shape."""
    parameters, arguments = _signature(call)
    lines = [f"/* {call.node.op} {call.node.name.replace('*/', '* /')} */", f"static STROP_NOINLINE void {name}({parameters}) {{"]
    if call.shape:
        lines += _shape(call, f"const {call.shape_type} shape = {{", "    ")
        arguments += ", &shape"
    return [*lines, f"    {call.function}({arguments});", "}"]


def _shared(call: KernelCall, name: str) -> list[str]:
    """The one copy of a kernel for all its shapes."""
    parameters, arguments = _signature(call)
    head = f"static STROP_NOINLINE void {name}({parameters}, const {call.shape_type} *shape) {{"
    return [head, f"    {call.function}({arguments}, shape);", "}"]


def _tensor_macros(prefix: str, value: Value) -> list[str]:
    shape = "x".join(str(size) for size in value.type.shape) or "scalar"
    lines = [f"/* {value.name.replace('*/', '* /')}: {shape} */", f"#define {prefix}_BYTES {value.type.bytes}"]
    if value.type.quant is not None and value.type.quant.axis is None:
        quant = value.type.quant
        lines.append(f"#define {prefix}_SCALE {floating(quant.scalar_scale)}")
        lines.append(f"#define {prefix}_ZERO_POINT {quant.scalar_zero_point}")
    return lines
