/* The device side of the MLPerf Tiny benchmark's text protocol: commands that end in %, reply lines that end in CR LF. */
#include "device.h"

/* Bytes of the input: expected, and there. */
static struct {
    uint32_t expected, loaded;
} input_bytes;

/* The model that commands are about. */
static const struct strop_model *model(void)
{
    return &strop_models[strop_turn];
}

static void put_text(const char *text)
{
    while (*text) {
        strop_serial_put((uint8_t)*text++);
    }
}

/* With zeros before it where it has fewer digits than that. */
static void put_unsigned(uint32_t value, int digits_least)
{
    char digits[11];
    int first = 10;
    digits[10] = 0;
    do {
        digits[--first] = (char)('0' + value % 10);
        value /= 10;
    } while (value || first > 10 - digits_least);
    put_text(digits + first);
}

/* A text in which # stands for the number. It ends as lines do. */
static void put_line_of(const char *text, uint32_t number)
{
    for (; *text; ++text) {
        if (*text == '#') {
            put_unsigned(number, 1);
        } else {
            strop_serial_put((uint8_t)*text);
        }
    }
    put_text("\r\n");
}

static void put_line(const char *text)
{
    put_line_of(text, 0);
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
    put_unsigned(whole, 1);
    strop_serial_put('.');
    put_unsigned(rest, 6);
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
    put_line_of("#", strop_microseconds());
}

static void put_hex(uint32_t value, int digits)
{
    while (digits-- != 0) {
        const uint32_t digit = value >> 4 * digits & 15u;
        strop_serial_put((uint8_t)(digit < 10 ? '0' + digit : 'a' - 10 + digit));
    }
}

/* -1 where it is none. */
static __attribute__((noinline)) int hex_digit(uint8_t letter)
{
    const int lower = letter | 0x20;
    if (letter >= '0' && letter <= '9') {
        return letter - '0';
    }
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* What follows the word and the spaces behind it; null where another one is there. */
static const uint8_t *after(const uint8_t *at, const char *word)
{
    while (*word) {
        if (*at++ != (uint8_t)*word++) {
            return 0;
        }
    }
    if (*at != 0 && *at != ' ') {
        return 0;
    }
    while (*at == ' ') {
        ++at;
    }
    return at;
}

/* The number there or behind spaces, 0 where none is; goes behind it. */
static uint32_t take_number(const uint8_t **at)
{
    uint32_t value = 0;
    while (**at == ' ') {
        ++*at;
    }
    while (**at >= '0' && **at <= '9') {
        value = value * 10 + (uint32_t)(*(*at)++ - '0');
    }
    return value;
}

static void put_results(const uint8_t *rest)
{
    const struct strop_program *const program = model()->program;
    const void *const data = program->output[0](strop_arena);
    const uint32_t count = program->output_bytes[0] / model()->element_bytes;
    const char *before = "m-results-[";
#ifdef STROP_ANOMALY
    if (strop_is_anomaly()) {
        put_text(before);
        put_float(strop_anomaly_score());
        put_line("]");
        return;
    }
#endif
    for (uint32_t i = 0; i < count; ++i, before = ",") {
        put_text(before);
        if (STROP_FLOAT_RESULTS && model()->element_bytes == 4) {
            put_float(((const uint32_t *)data)[i]);
        } else {
            const int32_t stored = model()->element_bytes == 1 ? ((const int8_t *)data)[i] : ((const int16_t *)data)[i];
            const int32_t steps = stored - model()->zero_point;
            put_number((uint64_t)(uint32_t)(steps < 0 ? -steps : steps) * model()->scale, steps < 0);
        }
    }
    put_line("]");
}

/* Where the bytes go that the host sends. */
static uint8_t *input(void)
{
#ifdef STROP_ANOMALY
    if (strop_is_anomaly()) {
        return strop_anomaly_input();
    }
#endif
    return model()->program->input[0](strop_arena);
}

static uint32_t input_size(void)
{
#ifdef STROP_ANOMALY
    if (strop_is_anomaly()) {
        return 4 * STROP_ANOMALY;
    }
#endif
    return model()->program->input_bytes[0];
}

static void load_bytes(const uint8_t *at)
{
    uint8_t *const to = input();
    while (input_bytes.loaded < input_bytes.expected) {
        const int high = hex_digit(at[0]), low = high < 0 ? high : hex_digit(at[1]);
        if (low < 0) {
            break;
        }
        to[input_bytes.loaded++] = (uint8_t)(high * 16 + low);
        at += 2;
    }
    if (*at) {
        put_line("e-[No hex, or too much]");
    } else if (input_bytes.loaded == input_bytes.expected) {
        put_line("m-load-done");
    }
}

static void print_bytes(void)
{
    put_text("m-buffer");
    for (uint32_t i = 0; i < input_bytes.loaded; ++i) {
        put_text("-");
        put_hex(input()[i], 2);
    }
    put_line("");
}

static void data_command(const uint8_t *rest)
{
    const uint8_t *asked_at = after(rest, "load");
    if (asked_at) {
        const uint32_t size = input_size(), asked = take_number(&asked_at);
        const int fits = asked - 1 < size;
        input_bytes.loaded = 0;
        input_bytes.expected = fits ? asked : 0;
        put_line_of(fits ? "m-[Expecting # bytes]" : "e-[The input has # bytes]", fits ? asked : size);
    } else if (after(rest, "print")) {
        print_bytes();
    } else {
        load_bytes(rest);
    }
}

static int run_times(uint32_t times)
{
    struct strop_timed record;
    while (times-- != 0) {
        strop_timed_call(&record, model()->program->run, strop_arena);
        (void)strop_microseconds();
        if (record.status != 0 || strop_broken_guard() != 0) {
            put_line("e-[Run failed]");
            return 0;
        }
    }
    return 1;
}

/* The timing pin is low for 20 us or more, two samples of a meter that takes 100,000 a second. */
static void mark(void)
{
    if (STROP_TIMING_PIN) {
        strop_pin_put(0);
        (void)strop_spin((void *)(uintptr_t)(strop_identity.clock_hz / 50000u));
        strop_pin_put(1);
    }
}

/* The input's bytes may be another tensor's after a run: only the first run is of the loaded sample, so its results are sent. */
static void infer(const uint8_t *rest)
{
    const uint32_t times = take_number(&rest);
    const uint32_t warm_up = take_number(&rest);
    put_line_of("m-warmup-start-#", warm_up);
    if (!run_times(warm_up)) {
        return;
    }
    put_line_of("m-warmup-done\r\nm-infer-start-#", times);
#ifdef STROP_ANOMALY
    if (strop_is_anomaly()) {
        strop_anomaly_fill();
    }
#endif
    put_lap();
    mark();
    if (!run_times(times)) {
        return;
    }
    mark();
    put_lap();
    put_line("m-infer-done");
    put_results(rest);
}

static void tell_time(const uint8_t *rest)
{
    put_lap();
}

static void tell_name(const uint8_t *rest)
{
    put_line("m-name-dut-[strop]");
}

#ifdef STROP_SEVERAL
/* `profile NAME` gives the model of that name its turn; without a name, or with one that no model has, nothing changes. */
static void choose(const uint8_t *name)
{
    for (uint32_t number = 0; number < strop_identity.models; ++number) {
        if (*name && after(name, strop_models[number].name)) {
            input_bytes.expected = input_bytes.loaded = 0;
            strop_use(number);
        }
    }
}
#endif

static void tell_profile(const uint8_t *rest)
{
#ifdef STROP_SEVERAL
    choose(rest);
#endif
    put_text("m-profile-[ULPMark for tinyML Firmware V0.0.1]\r\nm-model-[");
    put_text(model()->name);
    put_line("]");
}

/* rest: what follows the command's name. */
static const struct {
    const char *name;
    void (*answer)(const uint8_t *rest);
} commands[] = {{"name", tell_name}, {"profile", tell_profile}, {"timestamp", tell_time},
                {"db", data_command}, {"infer", infer}, {"results", put_results}};

void strop_banner(void)
{
    put_line("m-timestamp-mode-performance");
    put_lap();
    put_line(strop_init_status == 0 ? "m-init-done\r\nm-ready" : "e-[No start]\r\nm-ready");
}

/* Program counter, cause, address. */
void strop_fault_text(const struct strop_fault *fault)
{
    put_text("\r\ne-[Fault");
    const uint32_t *const words = (const uint32_t *)(const void *)fault;
    for (uint32_t i = 0; i < 3; ++i) {
        put_text(" ");
        put_hex(words[i], 8);
    }
    put_line("]");
}

static void answer(const uint8_t *at)
{
    for (uint32_t i = 0; i < sizeof commands / sizeof *commands; ++i) {
        const uint8_t *const rest = after(at, commands[i].name);
        if (rest) {
            commands[i].answer(rest);
            return;
        }
    }
    put_text("e-[Unknown command: ");
    put_text((const char *)at);
    put_line("]");
}

/* Answers the command of so many bytes; line has room for one more. */
void strop_text(uint8_t *line, uint32_t bytes)
{
    if (bytes >= STROP_LINE_BYTES) {
        put_line("e-[More than 80 characters]");
    } else {
        line[bytes] = 0;
        while (*line == '\r' || *line == '\n' || *line == ' ') {
            ++line;
        }
        answer(line);
    }
    put_line("m-ready");
}
