/* Records what a process does to the files of one folder, in the order in which it does it, and what it says on
 * stdout meanwhile: for rebuilding the disk as a power cut may leave it (power_cuts.py). Preloaded, so that the program
 * and the SQLite under it are the real ones.
 *
 *     RECORD_UNDER=/folder RECORD_TO=/file LD_PRELOAD=./recorder.so program
 *
 * A record: op (1 byte), fd (4), offset or flags (8), length of the first and of the second text (4 each), the texts.
 * SQLite's -shm files are memory, which no power cut leaves behind, and are left out.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAX_FD 4096

static const char *folder;
static size_t folder_length;
static int trace = -1;
static char is_open[MAX_FD];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
/* The call, and its record where it succeeded, with no other between them. */
#define RECORDED(result, call, record)      \
    do {                                    \
        pthread_mutex_lock(&lock);          \
        (result) = (call);                  \
        if ((result) >= 0) { record; }      \
        pthread_mutex_unlock(&lock);        \
    } while (0)

__attribute__((constructor)) static void begin(void) {
    const char *to = getenv("RECORD_TO");
    folder = getenv("RECORD_UNDER");
    if (to == NULL || folder == NULL) return;
    folder_length = strlen(folder);
    trace = (int)syscall(SYS_openat, AT_FDCWD, to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int is_ours(const char *path) {
    size_t length = path == NULL ? 0 : strlen(path);
    if (trace < 0 || length < folder_length || strncmp(path, folder, folder_length) != 0) return 0;
    if (path[folder_length] != '\0' && path[folder_length] != '/') return 0;
    return length < 4 || strcmp(path + length - 4, "-shm") != 0;
}

static int is_ours_fd(int fd) { return trace >= 0 && fd >= 0 && fd < MAX_FD && is_open[fd]; }

static void record(char op, int32_t fd, int64_t number, const void *one, size_t one_length, const char *two) {
    uint32_t lengths[2] = {(uint32_t)one_length, two == NULL ? 0 : (uint32_t)strlen(two)};
    struct iovec parts[] = {
        {&op, 1}, {&fd, 4}, {&number, 8}, {lengths, 8}, {(void *)one, lengths[0]}, {(void *)two, lengths[1]},
    };
    if (syscall(SYS_writev, trace, parts, 6) < 0) abort();
}

static void opened(int fd, const char *path, int flags) {
    if (fd >= MAX_FD) abort();
    is_open[fd] = 1;
    record('o', fd, (flags & O_TRUNC) != 0, path, strlen(path), NULL);
}

#define OPEN(name, first_declared, first_given)                                          \
    int name(first_declared const char *path, int flags, ...) {                          \
        mode_t mode = 0;                                                                 \
        int fd;                                                                          \
        if (flags & (O_CREAT | O_TMPFILE)) {                                             \
            va_list more;                                                                \
            va_start(more, flags);                                                       \
            mode = va_arg(more, mode_t);                                                 \
            va_end(more);                                                                \
        }                                                                                \
        if (!is_ours(path)) return REAL(name)(first_given path, flags, mode);            \
        RECORDED(fd, REAL(name)(first_given path, flags, mode), opened(fd, path, flags)); \
        return fd;                                                                       \
    }
#define COMMA ,
OPEN(open, , )
OPEN(open64, , )
OPEN(openat, int at COMMA, at COMMA)
OPEN(openat64, int at COMMA, at COMMA)

int close(int fd) {
    int result;
    if (!is_ours_fd(fd)) return REAL(close)(fd);
    pthread_mutex_lock(&lock);
    is_open[fd] = 0;
    record('c', fd, 0, NULL, 0, NULL);
    result = REAL(close)(fd);
    pthread_mutex_unlock(&lock);
    return result;
}

ssize_t write(int fd, const void *data, size_t size) {
    ssize_t done;
    if (fd == STDOUT_FILENO && trace >= 0) {
        RECORDED(done, REAL(write)(fd, data, size), record('s', fd, 0, data, (size_t)done, NULL));
        return done;
    }
    if (!is_ours_fd(fd)) return REAL(write)(fd, data, size);
    off_t at = lseek(fd, 0, SEEK_CUR);
    if (fcntl(fd, F_GETFL) & O_APPEND) at = lseek(fd, 0, SEEK_END);
    RECORDED(done, REAL(write)(fd, data, size), record('w', fd, at, data, (size_t)done, NULL));
    return done;
}

#define PWRITE(name, offset_type)                                                                      \
    ssize_t name(int fd, const void *data, size_t size, offset_type at) {                              \
        ssize_t done;                                                                                  \
        if (!is_ours_fd(fd)) return REAL(name)(fd, data, size, at);                                    \
        RECORDED(done, REAL(name)(fd, data, size, at), record('w', fd, at, data, (size_t)done, NULL)); \
        return done;                                                                                   \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define OF_FD(name, letter, number, declared, given)                                         \
    int name declared {                                                                      \
        int result;                                                                          \
        if (!is_ours_fd(fd)) return REAL(name) given;                                        \
        RECORDED(result, REAL(name) given, record(letter, fd, (int64_t)(number), NULL, 0, NULL)); \
        return result;                                                                       \
    }
OF_FD(ftruncate, 't', size, (int fd, off_t size), (fd, size))
OF_FD(ftruncate64, 't', size, (int fd, off64_t size), (fd, size))
OF_FD(fsync, 'f', 0, (int fd), (fd))
OF_FD(fdatasync, 'f', 0, (int fd), (fd))

#define OF_PATH(name, letter, path, other, declared, given)                                        \
    int name declared {                                                                            \
        int result;                                                                                \
        if (!is_ours(path)) return REAL(name) given;                                               \
        RECORDED(result, REAL(name) given, record(letter, -1, 0, path, strlen(path), other));      \
        return result;                                                                             \
    }
OF_PATH(unlink, 'u', path, NULL, (const char *path), (path))
OF_PATH(unlinkat, 'u', path, NULL, (int at, const char *path, int flags), (at, path, flags))
OF_PATH(mkdir, 'd', path, NULL, (const char *path, mode_t mode), (path, mode))
OF_PATH(mkdirat, 'd', path, NULL, (int at, const char *path, mode_t mode), (at, path, mode))
OF_PATH(rename, 'r', to, from, (const char *from, const char *to), (from, to))
OF_PATH(renameat, 'r', to, from, (int a, const char *from, int b, const char *to), (a, from, b, to))
OF_PATH(link, 'l', to, from, (const char *from, const char *to), (from, to))
OF_PATH(linkat, 'l', to, from, (int a, const char *from, int b, const char *to, int flags), (a, from, b, to, flags))
