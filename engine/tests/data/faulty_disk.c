/* A disk that fails when it is told to: preloaded under the program by engine/tests/s3_disk.rs.
 *
 * Below the folder FAULTY_DISK, calls fail as the first letter of the file FAULTY_DISK_HOW says:
 * `r` every change is refused with EROFS, `s` fsync and fdatasync fail with EIO, else nothing fails.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static char how(void)
{
    const char *name = getenv("FAULTY_DISK_HOW");
    char letter = 0;
    long file = name ? syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    if (syscall(SYS_read, file, &letter, 1) != 1) letter = 0;
    syscall(SYS_close, file);
    return letter;
}

static int below(const char *path)
{
    const char *folder = getenv("FAULTY_DISK");
    return folder && path && strstr(path, folder) != NULL;
}

static int fd_below(int fd)
{
    char name[64], path[4096];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(name, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return below(path);
}

#define REAL(name) ((__typeof__(&name)) dlsym(RTLD_NEXT, #name))
#define FAIL(error) return errno = (error), -1

#define OPEN(name)                                                          \
    int name(const char *path, int flags, ...)                              \
    {                                                                       \
        va_list list;                                                       \
        va_start(list, flags);                                              \
        int mode = va_arg(list, int);                                       \
        va_end(list);                                                       \
        if ((flags & (O_WRONLY | O_RDWR | O_CREAT)) && below(path) && how() == 'r') FAIL(EROFS); \
        return REAL(name)(path, flags, mode);                               \
    }
OPEN(open)
OPEN(open64)

ssize_t write(int fd, const void *bytes, size_t count)
{
    if (fd > 2 && fd_below(fd) && how() == 'r') FAIL(EROFS);
    return REAL(write)(fd, bytes, count);
}

int fsync(int fd)
{
    if (fd_below(fd) && how() == 's') FAIL(EIO);
    return REAL(fsync)(fd);
}

int fdatasync(int fd)
{
    if (fd_below(fd) && how() == 's') FAIL(EIO);
    return REAL(fdatasync)(fd);
}

int ftruncate64(int fd, off64_t length)
{
    if (fd_below(fd) && how() == 'r') FAIL(EROFS);
    return REAL(ftruncate64)(fd, length);
}

int mkdir(const char *path, mode_t mode)
{
    if (below(path) && how() == 'r') FAIL(EROFS);
    return REAL(mkdir)(path, mode);
}

int unlink(const char *path)
{
    if (below(path) && how() == 'r') FAIL(EROFS);
    return REAL(unlink)(path);
}

int rename(const char *from, const char *to)
{
    if (below(from) && how() == 'r') FAIL(EROFS);
    return REAL(rename)(from, to);
}
