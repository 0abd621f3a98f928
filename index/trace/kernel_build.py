"""Compiling the kernel: from the functions of ``kernel_scan`` to machine code for this processor.

numba gives LLVM's intermediate code, which is optimised once as a whole and written as an object
file that needs nothing but the C library. Whoever runs it needs llvmlite and not numba.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from llvmlite.binding import TargetMachine

__all__ = ("MachineCode", "build", "target_machine")


class MachineCode(NamedTuple):
    """An object file, and the symbol of the kernel's one function in it."""

    symbol: str
    code: bytes


def build() -> MachineCode:
    """Compile the kernel; that takes many seconds.

    To be called in a process of its own: numba takes over how much it optimises, which is little,
    since LLVM does that on the whole afterwards.
    """
    os.environ["NUMBA_OPT"] = "0"
    from llvmlite import binding as llvm

    from dftindexd.index.trace.kernel_scan import run
    from dftindexd.index.trace.kernel_text import INLINED

    (symbol,) = _symbols(run)
    inlined = {name for function in INLINED for name in _symbols(function)}
    module = llvm.parse_assembly(run.inspect_llvm(run.signatures[0]))
    for function in module.functions:
        if function.is_declaration or function.name == symbol:
            continue
        function.linkage = "internal"
        if function.name in inlined:
            function.add_function_attribute("alwaysinline")
    machine = target_machine()
    tuning = llvm.create_pipeline_tuning_options(speed_level=3)
    passes = llvm.create_pass_builder(machine, tuning)
    passes.getModulePassManager().run(module, passes)
    return MachineCode(symbol, machine.emit_object(module))


def _symbols(function: Any) -> list[str]:
    """Return the symbols of a function that numba compiled, one for each kind of arguments."""
    return [compiled.fndesc.llvm_func_name for compiled in function.overloads.values()]


def target_machine() -> TargetMachine:
    """Return llvmlite's target machine for the processor that this runs on."""
    from llvmlite import binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        codemodel="jitdefault",
        jit=True,
    )
