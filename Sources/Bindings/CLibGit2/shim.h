#pragma once
#include <git2.h>
#include <git2/sys/transport.h>
#include <git2/sys/stream.h>
#if __has_include(<git2/sys/errors.h>)
#include <git2/sys/errors.h> /* since 1.8 */
#endif

/* Swift can't call functions with variable arguments. */

static inline int plumb_git_set_search_path(int level, const char *path) {
    return git_libgit2_opts(GIT_OPT_SET_SEARCH_PATH, level, path);
}

static inline int plumb_git_set_certificates(const char *file) {
    return git_libgit2_opts(GIT_OPT_SET_SSL_CERT_LOCATIONS, file, (const char *)NULL);
}

static inline int plumb_git_set_owner_validation(int enabled) {
    return git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, enabled);
}

static inline int plumb_git_set_pack_limits(size_t objects, size_t mapped) {
    size_t window = mapped / 4;
    int status = git_libgit2_opts(GIT_OPT_SET_PACK_MAX_OBJECTS, objects);
    if (status == 0) status = git_libgit2_opts(GIT_OPT_SET_MWINDOW_SIZE, window);
    if (status == 0) status = git_libgit2_opts(GIT_OPT_SET_MWINDOW_MAPPED_LIMIT, mapped);
    return status;
}

/* Only the newest commits of a branch; 0 where this libgit2 can't (before 1.7) and everything is fetched. */
static inline int plumb_git_set_depth(git_fetch_options *options, int depth) {
#if LIBGIT2_VER_MAJOR > 1 || LIBGIT2_VER_MINOR >= 7
    options->depth = depth;
    return 1;
#else
    (void)options;
    (void)depth;
    return 0;
#endif
}

/* What libgit2 calls a subtransport and its stream, with the Swift object that does the work. */

typedef struct plumb_subtransport {
    git_smart_subtransport parent;
    void *object;
} plumb_subtransport;

typedef struct plumb_stream {
    git_smart_subtransport_stream parent;
    void *object;
} plumb_stream;
