/*
 * secret_file.c
 *	  Secrets in files: see secret_file.h.
 *
 * A file may be a symbolic link, as Kubernetes and other keepers of secrets make
 * them, but what it leads to has to lie below the same directory: whoever may
 * name a file must not choose among all that the server can read.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nodes/makefuncs.h"
#include "storage/fd.h"

#include "base/secret_file.h"
#include "base/text.h"
#include "guc.h"

#define MAX_SIZE	(64 * 1024)

bool
secret_file_is_named(const char *name)
{
	Size		len = strlen(name);

	return len <= SECRET_FILE_NAME_MAX && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
		text_consists_of(name, len, TEXT_LETTERS TEXT_DIGITS "_.-");
}

static bool
refuse(const char *name, const char *problem, Fault *fault)
{
	return fault_set(fault, REASON_SECRET_FILE, "could not use secret file \"%s\": %s", name,
					 problem);
}

/* ----- lines ----- */

/* Ends the line and returns the next one, NULL: that was the last. */
static char *
cut_line(char *line)
{
	char	   *end = line + strcspn(line, "\r\n");
	bool		two = end[0] == '\r' && end[1] == '\n';

	if (*end == '\0')
		return NULL;
	*end = '\0';
	return end + (two ? 2 : 1);
}

static bool
read_lines(char *text, const char *name, List **secrets, Fault *fault)
{
	char	   *next;
	int			number = 1;

	if (strncmp(text, "\xEF\xBB\xBF", 3) == 0)
		text += 3;
	for (char *line = text; line; line = next, number++)
	{
		char	   *value;

		next = cut_line(line);
		line = text_trim(line);
		if (line[0] == '\0' || line[0] == '#')
			continue;
		value = strchr(line, '=');
		/* the line itself may be a secret */
		if (value == NULL || value == line)
			return refuse(name, psprintf("line %d is not KEY=value", number), fault);
		*value++ = '\0';
		*secrets = lappend(*secrets,
						   makeDefElem(pstrdup(text_trim(line)),
									   (Node *) makeString(pstrdup(text_trim(value))), -1));
	}
	return true;
}

/* ----- the file ----- */

/* Where it really lies; malloc'd, NULL with the fault filled. */
static char *
find_file(const char *name, Fault *fault)
{
	char		path[MAXPGPATH];
	char	   *directory = realpath(damoov_secrets_dir, NULL);
	Size		len = directory ? strlen(directory) : 0;
	char	   *found = NULL;

	snprintf(path, sizeof(path), "%s/%s", damoov_secrets_dir, name);
	if (directory == NULL || (found = realpath(path, NULL)) == NULL)
		refuse(name, errno == ENOENT ? "does not exist" : "cannot be opened", fault);
	else if (strncmp(found, directory, len) != 0 || found[len] != '/')
	{
		free(found);
		found = NULL;
		refuse(name, "a symbolic link leads out of \"damoov.secrets_dir\"", fault);
	}
	free(directory);
	return found;
}

static bool
check_file(int fd, const char *name, Fault *fault)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return refuse(name, "cannot be examined", fault);
	if (!S_ISREG(st.st_mode))
		return refuse(name, "not a regular file", fault);
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return refuse(name, "not owned by the server's user or root", fault);
	if ((st.st_mode & (S_IWGRP | S_IRWXO)) != 0)
		return refuse(name, "writable by its group or open to others", fault);
	if (st.st_size > MAX_SIZE)
		return refuse(name, "too large", fault);
	return true;
}

bool
secret_file_load(const char *name, List **secrets, Fault *fault)
{
	char		text[MAX_SIZE + 1];
	char	   *path;
	int			fd;
	ssize_t		len = -1;
	bool		done;

	if (damoov_secrets_dir == NULL || damoov_secrets_dir[0] == '\0')
		return refuse(name, "\"damoov.secrets_dir\" is not set", fault);
	/* the validator checked it, but a catalog can be edited */
	if (!secret_file_is_named(name))
		return refuse("", "not a plain file name", fault);
	path = find_file(name, fault);
	if (path == NULL)
		return false;
	/* not blocking: a FIFO in its place must not hang the worker */
	fd = OpenTransientFile(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
	free(path);
	if (fd < 0)
		return refuse(name, "cannot be opened", fault);
	if (check_file(fd, name, fault) && (len = read(fd, text, MAX_SIZE)) < 0)
		refuse(name, "cannot be read", fault);
	CloseTransientFile(fd);
	if (len < 0)
		return false;
	text[len] = '\0';
	done = strlen(text) == (Size) len ? read_lines(text, name, secrets, fault)
		: refuse(name, "not a text", fault);
	explicit_bzero(text, sizeof(text));
	return done;
}
