"""TensorFlow Lite Micro: the model as a C array, its operators' registrations, its arena size, a CMake project."""
