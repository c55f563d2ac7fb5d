/* Elementwise trigonometric and hyperbolic functions of one float32 tensor. Cost: about 60 operations per element. */
#ifndef STROP_UNARY_TRIG_F32_H
#define STROP_UNARY_TRIG_F32_H

#include "trig_f32.h"
#include "unary_f32.h"

STROP_UNARY_F32(sin, float, strop_sin_f32(x))
STROP_UNARY_F32(cos, float, strop_cos_f32(x))
STROP_UNARY_F32(tan, float, strop_tan_f32(x))
STROP_UNARY_F32(asin, float, strop_asin_f32(x))
STROP_UNARY_F32(acos, float, strop_acos_f32(x))
STROP_UNARY_F32(atan, float, strop_atan_f32(x))
STROP_UNARY_F32(sinh, float, strop_sinh_f32(x))
STROP_UNARY_F32(cosh, float, strop_cosh_f32(x))
STROP_UNARY_F32(asinh, float, strop_asinh_f32(x))
STROP_UNARY_F32(acosh, float, strop_acosh_f32(x))
STROP_UNARY_F32(atanh, float, strop_atanh_f32(x))

#endif
