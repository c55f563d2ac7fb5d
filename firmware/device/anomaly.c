/* Anomaly detection in the benchmark's text protocol, whose host sends float32 and wants one number: the mean square of what the
 * network's output differs from its input by. Built with STROP_ANOMALY, the number of inputs, for the model of that number.
 * RAM: 4 bytes an input, since runs may use the input's memory. Cost: float arithmetic, in software where a core has none. */
#include "device.h"

static _Alignas(4) uint8_t raw[4 * STROP_ANOMALY];

int strop_is_anomaly(void)
{
    return strop_turn == STROP_ANOMALY_MODEL;
}

uint8_t *strop_anomaly_input(void)
{
    return raw;
}

static float sent(uint32_t index)
{
    return ((const float *)(const void *)raw)[index];
}

/* Halves go away from zero, as in TFLite. */
static int8_t quantized(float value)
{
    const float steps = value / strop_anomaly_scale.scale;
    const int32_t whole = (int32_t)(steps < -1000.0f ? -1000.0f : steps > 1000.0f ? 1000.0f : steps < 0 ? steps - 0.5f : steps + 0.5f);
    const int32_t stored = whole + strop_anomaly_scale.zero_point;
    return (int8_t)(stored < -128 ? -128 : stored > 127 ? 127 : stored);
}

/* What was sent becomes the network's input. */
void strop_anomaly_fill(void)
{
    void *const input = strop_models[STROP_ANOMALY_MODEL].program->input[0](strop_arena);
    for (uint32_t i = 0; i < STROP_ANOMALY; ++i) {
        if (strop_models[STROP_ANOMALY_MODEL].element_bytes == 4) {
            ((float *)input)[i] = sent(i);
        } else {
            ((int8_t *)input)[i] = quantized(sent(i));
        }
    }
}

/* The bits of the mean square, a float32. */
uint32_t strop_anomaly_score(void)
{
    const struct strop_model *const model = &strop_models[STROP_ANOMALY_MODEL];
    const void *const output = model->program->output[0](strop_arena);
    union {
        float value;
        uint32_t bits;
    } mean = {0};
    for (uint32_t i = 0; i < STROP_ANOMALY; ++i) {
        const float found = model->element_bytes == 4 ? ((const float *)output)[i]
                                                      : (float)(((const int8_t *)output)[i] - model->zero_point) *
                                                            ((float)model->scale * (1.0f / 16777216.0f));
        mean.value += (found - sent(i)) * (found - sent(i));
    }
    mean.value /= (float)STROP_ANOMALY;
    return mean.bits;
}
