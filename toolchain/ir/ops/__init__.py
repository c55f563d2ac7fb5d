"""The operations by family. Each module declares `Op` entries; `toolchain.ir.optable` lists them all."""
