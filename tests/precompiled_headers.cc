// Nothing: the target of this file holds the precompiled headers (CMakeLists.txt).
