/* A plugin of QEMU's user mode: the instructions executed before each call of some functions.
 * -plugin file=THIS,out=FILE,at=ADDRESS[,at=ADDRESS]: one decimal number a line. Counts whole blocks of translated code as they are
 * entered; a called function begins one. What it declares of QEMU's interface is the same in all its versions. */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ADDRESSES = 8, NO_REGISTERS = 0 };

typedef void translated_t(uint64_t id, void *block);
typedef void entered_t(unsigned int cpu, void *data);
typedef void ended_t(uint64_t id, void *data);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, translated_t *call);
void qemu_plugin_register_vcpu_tb_exec_cb(void *block, entered_t *call, int flags, void *data);
void qemu_plugin_register_atexit_cb(uint64_t id, ended_t *call, void *data);
size_t qemu_plugin_tb_n_insns(const void *block);
uint64_t qemu_plugin_tb_vaddr(const void *block);

__attribute__((visibility("default"))) int qemu_plugin_version = PLUGIN_VERSION;
__attribute__((visibility("default"))) int qemu_plugin_install(uint64_t id, const void *info, int count, char **arguments);

static uint64_t executed;
static uint64_t addresses[MOST_ADDRESSES];
static int address_count;
static FILE *out;

static void enter(unsigned int cpu, void *data)
{
    (void)cpu;
    executed += (uintptr_t)data;
}

static void enter_marked(unsigned int cpu, void *data)
{
    fprintf(out, "%" PRIu64 "\n", executed);
    enter(cpu, data);
}

static void translate(uint64_t id, void *block)
{
    int marked = 0;
    (void)id;
    for (int i = 0; i < address_count; ++i) {
        marked |= qemu_plugin_tb_vaddr(block) == addresses[i];
    }
    const uintptr_t instructions = qemu_plugin_tb_n_insns(block);
    qemu_plugin_register_vcpu_tb_exec_cb(block, marked ? enter_marked : enter, NO_REGISTERS, (void *)instructions);
}

static void end(uint64_t id, void *data)
{
    (void)id;
    (void)data;
    fclose(out);
}

int qemu_plugin_install(uint64_t id, const void *info, int count, char **arguments)
{
    (void)info;
    for (int i = 0; i < count; ++i) {
        if (strncmp(arguments[i], "out=", 4) == 0) {
            out = fopen(arguments[i] + 4, "w");
        } else if (strncmp(arguments[i], "at=", 3) == 0 && address_count < MOST_ADDRESSES) {
            addresses[address_count++] = strtoull(arguments[i] + 3, NULL, 0);
        }
    }
    if (out == NULL) {
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    qemu_plugin_register_atexit_cb(id, end, NULL);
    return 0;
}
