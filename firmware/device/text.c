/* The device side of the MLPerf Tiny benchmark's text protocol: commands that end in %, reply lines that end in CR LF. */
#include "device.h"

static uint32_t expected, loaded;

static void put_text(const char *text)
{
    while (*text) {
        strop_serial_put((uint8_t)*text++);
    }
}

static void put_line(const char *text)
{
    put_text(text);
    put_text("\r\n");
}

static void put_unsigned(uint32_t value)
{
    char digits[11];
    int first = 10;
    digits[10] = 0;
    do {
        digits[--first] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    put_text(digits + first);
}

/* A number in units of 2^-24, with six decimals. Integers alone: float arithmetic would be a kilobyte on cores without it. */
static void put_number(uint64_t units, int negative)
{
    uint32_t whole = (uint32_t)(units >> 24);
    uint32_t rest = (uint32_t)(((units & 0xffffffu) * 1000000u + 0x800000u) >> 24);
    if (rest == 1000000) {
        rest = 0;
        ++whole;
    }
    if (negative) {
        strop_serial_put('-');
    }
    put_unsigned(whole);
    strop_serial_put('.');
    for (uint32_t unit = 100000; unit != 0; unit /= 10) {
        strop_serial_put((uint8_t)('0' + rest / unit % 10));
    }
}

/* The bits of a float32; what is beyond 2^30 or is no number is cut to that. */
static void put_float(uint32_t bits)
{
    const uint32_t exponent = bits >> 23 & 0xff, mantissa = (bits & 0x7fffffu) | 0x800000u;
    uint64_t units = (uint64_t)1 << 54;
    if (exponent < 126) {
        units = exponent > 101 ? mantissa >> (126 - exponent) : 0;
    } else if (exponent < 157) {
        /* Doubled rather than shifted, which would be a call on 32-bit cores. */
        units = mantissa;
        for (uint32_t i = 126; i < exponent; ++i) {
            units += units;
        }
    }
    put_number(units, (int)(bits >> 31));
}

static void put_lap(void)
{
    put_text("m-lap-us-");
    put_unsigned(strop_microseconds());
    put_text("\r\n");
}

static void put_hex(uint8_t byte)
{
    for (int shift = 4; shift >= 0; shift -= 4) {
        const int digit = byte >> shift & 15;
        strop_serial_put((uint8_t)(digit < 10 ? '0' + digit : 'a' - 10 + digit));
    }
}

static int hex_digit(uint8_t letter)
{
    const int lower = letter | 0x20;
    if (letter >= '0' && letter <= '9') {
        return letter - '0';
    }
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* Where the word after a command begins; spaces are skipped. */
static const uint8_t *next_word(const uint8_t *at)
{
    while (*at && *at != ' ') {
        ++at;
    }
    while (*at == ' ') {
        ++at;
    }
    return at;
}

static int begins(const uint8_t *at, const char *word)
{
    while (*word) {
        if (*at++ != (uint8_t)*word++) {
            return 0;
        }
    }
    return *at == 0 || *at == ' ';
}

static uint32_t number_at(const uint8_t *at)
{
    uint32_t value = 0;
    while (*at >= '0' && *at <= '9') {
        value = value * 10 + (uint32_t)(*at++ - '0');
    }
    return value;
}

static void put_results(void)
{
    const struct strop_model *const model = &strop_models[strop_turn];
    const void *const data = model->program->output[0](strop_arena);
    const uint32_t count = model->program->output_bytes[0] / model->element_bytes;
    put_text("m-results-[");
#ifdef STROP_ANOMALY
    if (strop_is_anomaly()) {
        put_float(strop_anomaly_score());
        put_line("]");
        return;
    }
#endif
    for (uint32_t i = 0; i < count; ++i) {
        if (i) {
            strop_serial_put(',');
        }
        if (model->element_bytes == 4) {
            put_float(((const uint32_t *)data)[i]);
        } else {
            const int32_t stored = model->element_bytes == 1 ? ((const int8_t *)data)[i] : ((const int16_t *)data)[i];
            const int32_t steps = stored - model->zero_point;
            put_number((uint64_t)(uint32_t)(steps < 0 ? -steps : steps) * model->scale, steps < 0);
        }
    }
    put_line("]");
}

/* Where the bytes go that the host sends. */
static uint8_t *loading(void)
{
#ifdef STROP_ANOMALY
    if (strop_is_anomaly()) {
        return strop_anomaly_input();
    }
#endif
    return strop_models[strop_turn].program->input[0](strop_arena);
}

static uint32_t loading_bytes(void)
{
#ifdef STROP_ANOMALY
    if (strop_is_anomaly()) {
        return 4 * STROP_ANOMALY;
    }
#endif
    return strop_models[strop_turn].program->input_bytes[0];
}

static void load_bytes(const uint8_t *at)
{
    uint8_t *const input = loading();
    for (; hex_digit(at[0]) >= 0 && hex_digit(at[1]) >= 0 && loaded < expected; at += 2) {
        input[loaded++] = (uint8_t)(hex_digit(at[0]) * 16 + hex_digit(at[1]));
    }
    if (*at) {
        put_line("e-[No hex, or too much]");
    } else if (loaded == expected) {
        put_line("m-load-done");
    }
}

static void data_command(const uint8_t *at)
{
    const uint32_t size = loading_bytes();
    if (begins(at, "load")) {
        const uint32_t asked = number_at(next_word(at));
        loaded = 0;
        expected = asked <= size ? asked : 0;
        if (asked > size || asked == 0) {
            put_text("e-[The input has ");
            put_unsigned(size);
            put_line(" bytes]");
            return;
        }
        put_text("m-[Expecting ");
        put_unsigned(asked);
        put_line(" bytes]");
    } else if (begins(at, "print")) {
        const uint8_t *const input = loading();
        put_text("m-buffer");
        for (uint32_t i = 0; i < loaded; ++i) {
            strop_serial_put('-');
            put_hex(input[i]);
        }
        put_text("\r\n");
    } else {
        load_bytes(at);
    }
}

static int run_times(uint32_t times)
{
    struct strop_timed record;
    for (uint32_t i = 0; i < times; ++i) {
        strop_timed_call(&record, strop_models[strop_turn].program->run, strop_arena);
        (void)strop_microseconds();
        if (record.status != 0 || strop_broken_guard() != 0) {
            put_line("e-[Run failed]");
            return 0;
        }
    }
    return 1;
}

/* The input's bytes may be another tensor's after a run: only the first run is of the loaded sample, so its results are sent. */
static void infer(const uint8_t *at)
{
    const uint32_t times = number_at(at), warm_up = number_at(next_word(at));
    put_text("m-warmup-start-");
    put_unsigned(warm_up);
    put_text("\r\n");
    if (!run_times(warm_up)) {
        return;
    }
    put_line("m-warmup-done");
    put_text("m-infer-start-");
    put_unsigned(times);
    put_text("\r\n");
#ifdef STROP_ANOMALY
    if (strop_is_anomaly()) {
        strop_anomaly_fill();
    }
#endif
    put_lap();
    if (!run_times(times)) {
        return;
    }
    put_lap();
    put_line("m-infer-done");
    put_results();
}

#ifdef STROP_SEVERAL
/* `profile NAME` gives the model of that name its turn; without a name, or with one that no model has, nothing changes. */
static void choose(const uint8_t *name)
{
    for (uint32_t number = 0; number < strop_model_count; ++number) {
        if (*name && begins(name, strop_models[number].name)) {
            expected = loaded = 0;
            strop_use(number);
        }
    }
}
#endif

void strop_banner(void)
{
    put_line("m-timestamp-mode-performance");
    put_lap();
    put_line(strop_init_status == 0 ? "m-init-done" : "e-[No start]");
    put_line("m-ready");
}

static void put_word(const char *name, uint32_t word)
{
    put_text(name);
    for (int shift = 24; shift >= 0; shift -= 8) {
        put_hex((uint8_t)(word >> shift));
    }
}

/* Program counter, cause, address. */
void strop_fault_text(const struct strop_fault *fault)
{
    put_word("\r\ne-[Fault ", fault->pc);
    put_word(" ", fault->cause);
    put_word(" ", fault->address);
    put_line("]");
}

/* Answers the command of so many bytes in the buffer. */
void strop_text(uint32_t bytes)
{
    if (bytes >= STROP_LINE_BYTES) {
        put_line("e-[More than 80 characters]");
        put_line("m-ready");
        return;
    }
    uint8_t *at = strop_buffer;
    at[bytes] = 0;
    while (*at == '\r' || *at == '\n' || *at == ' ') {
        ++at;
    }
    if (begins(at, "name")) {
        put_text("m-name-dut-[strop]\r\n");
    } else if (begins(at, "profile")) {
#ifdef STROP_SEVERAL
        choose(next_word(at));
#endif
        put_line("m-profile-[ULPMark for tinyML Firmware V0.0.1]");
        put_text("m-model-[");
        put_text(strop_models[strop_turn].name);
        put_line("]");
    } else if (begins(at, "timestamp")) {
        put_lap();
    } else if (begins(at, "db")) {
        data_command(next_word(at));
    } else if (begins(at, "infer")) {
        infer(next_word(at));
    } else if (begins(at, "results")) {
        put_results();
    } else {
        put_text("e-[Unknown command: ");
        put_text((const char *)at);
        put_line("]");
    }
    put_line("m-ready");
}
