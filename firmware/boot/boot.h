/* What the boot loader and the firmware share: where slots and state pages lie, images, the state, and the flash they lie in.
 * From STROP_UPDATE_BASE on: two state pages, slot 0, slot 1. The build gives the STROP_UPDATE_ numbers from the target's file. */
#ifndef STROP_BOOT_H
#define STROP_BOOT_H

#include "harness.h"

enum { STROP_SLOTS = 2, STROP_NO_SLOT = 0xff, STROP_TRIES = 3 };
enum { STROP_SIGNATURE_BYTES = 64, STROP_HEADER_BYTES = 256, STROP_TARGET_BYTES = 32 };

/* The first bytes of a slot. The signature is of all that follows it: the rest of the header, and the payload. */
struct strop_header {
    uint8_t signature[STROP_SIGNATURE_BYTES];
    uint8_t magic[8];
    uint32_t address; /* of the slot that it is linked for */
    uint32_t length;  /* of the payload, which begins behind the header, with the vectors */
    uint32_t version;
    uint32_t zero;
    uint8_t build_id[16];
    char target[STROP_TARGET_BYTES];
    uint8_t reserved[STROP_HEADER_BYTES - 136];
};

/* One record of a state page. */
struct strop_state {
    uint32_t magic;
    uint32_t sequence;
    uint8_t stable; /* the slot that was confirmed last */
    uint8_t trial;  /* a complete image that was not confirmed yet, or STROP_NO_SLOT */
    uint8_t tries;  /* starts that the trial has left */
    uint8_t zero;
    uint32_t floor;    /* no image of a lower version starts */
    uint32_t update;   /* CRC-32 of the header of what is being written to the other slot */
    uint32_t progress; /* bytes of it that are written for good */
    uint32_t unused;
    uint32_t check; /* CRC-32 of the record before it */
};

/* The newest record that was written whole; 0, and the state of a new board, where there is none. */
int strop_state_read(struct strop_state *state);
/* Appends the state with the next sequence: 1 when it is in flash. */
int strop_state_write(struct strop_state *state);

uint32_t strop_slot(uint32_t number);
/* 1 where a header is of an image for this board and this slot that the slot holds. */
int strop_header_fits(const struct strop_header *header, uint32_t slot);

/* Per flash, in firmware/boards/flash_NAME.c; 0 when done. A unit is programmed once after its page was erased. */
int strop_flash_erase(uint32_t page);
int strop_flash_program(uint32_t address, const uint8_t *unit);

#endif
