/* Tells by pointers alone whether objects have changed in place. What it guarantees, and why: witness.py. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>
#include <stdint.h>
#include <structmember.h>

#if SIZEOF_VOID_P < 8
#error "Its marks take three bits of a pointer. Without it, the saver works without this module."
#endif

#ifdef Py_GIL_DISABLED
#error "What it guarantees rests on the GIL. Without it, the saver works without this module."
#endif

/* What was seen of objects is one array of words, in the order in which it is looked at again: so that the array is read
   from front to back, and of the objects only what can have changed. A word is a pointer to what is held, with a mark of
   what follows it, or a count.

   An object: its pointer; its type; its extras, None or an empty dict; its fields, a dict.
   A dict: its pointer; how many entries; each key and value. A list: its pointer; how many items; each of them.
   Anything else is what can never change: its pointer.

   Up to Python 3.11, each change to a dict gives it a version that no dict has ever had (PEP 509). So of a dict only its
   version is looked at, and the dicts and lists in it: its pointer; how many of these; its version; each of them. Its
   keys, and what in it can never change, need not be held either: the dict itself holds them until it changes. */
typedef uintptr_t Word;
enum { LEAF = 0, DICT = 1, LIST = 2, OBJECT = 3, COUNT = 7, MARKS = 7 };
#define MARK(word) ((int)((word) & MARKS))
#define POINTER(word) ((PyObject *)((word) & ~(Word)MARKS))

#if PY_VERSION_HEX < 0x030C0000 && !defined(WITHOUT_VERSIONS)
#define VERSIONS
#define VERSION_OF(dict) ((Word)((PyDictObject *)(dict))->ma_version_tag * (MARKS + 1) + COUNT)
#endif

/* What is deeper, or larger, is not covered: what contains itself would be walked through for ever. */
#define MAX_DEPTH 32
#define MAX_WORDS 65536

/* Of one object: where its words end, and what it and those before it take in memory. */
typedef struct {
    size_t end;
    size_t memory;
} Seen;

/* Only ever added to: so it can be shared by all who know how many of its objects are theirs. */
typedef struct {
    PyObject_HEAD
    PyObject *slot; /* the descriptor of the objects' extras */
    Word *words;
    size_t used, room;
    Seen *seen; /* one more than there are objects: the first says where the words of the first begin */
    Py_ssize_t count, seen_room;
} Witness;

static PyTypeObject WitnessType;

static inline PyObject *in_slot(const Witness *witness, PyObject *element)
{
    return *(PyObject **)((char *)element + ((PyMemberDescrObject *)witness->slot)->d_member->offset);
}

/* Looking again. */

static const Word *same_inside(PyObject *container, int mark, const Word *at);

/* Give what follows the words of a value if it is what they say; NULL if not. */
static inline const Word *same_value(PyObject *value, const Word *at)
{
    Word expected = *at++;
    if ((expected & ~(Word)MARKS) != (Word)value)
        return NULL;
    return MARK(expected) == LEAF ? at : same_inside(value, MARK(expected), at);
}

/* It is the very same container: so it is of the type that it was of, exactly dict or list. */
static const Word *same_inside(PyObject *container, int mark, const Word *at)
{
    Py_ssize_t count = (Py_ssize_t)(*at++ / (MARKS + 1));
    if (mark == LIST) {
        if (PyList_GET_SIZE(container) != count)
            return NULL;
        for (Py_ssize_t i = 0; i < count && at != NULL; i++)
            at = same_value(PyList_GET_ITEM(container, i), at);
        return at;
    }
#ifdef VERSIONS
    if (VERSION_OF(container) != *at++)
        return NULL;
    for (; count > 0 && at != NULL; count--)
        at = same_inside(POINTER(*at), MARK(*at), at + 1);
    return at;
#else
    if (PyDict_GET_SIZE(container) != count)
        return NULL;
    Py_ssize_t position = 0;
    PyObject *key, *value;
    for (; count > 0 && at != NULL && PyDict_Next(container, &position, &key, &value); count--)
        at = (Word)key == *at ? same_value(value, at + 1) : NULL;
    return count == 0 ? at : NULL;
#endif
}

static int same_object(const Witness *witness, PyObject *element, const Word *at)
{
    if (POINTER(at[0]) != element || (Word)Py_TYPE(element) != at[1])
        return 0;
    at = same_value(in_slot(witness, element), at + 2);
    if (at == NULL)
        return 0;
    /* If its dict is gone, this makes another, which is not the one that is held. */
    PyObject *fields = PyObject_GenericGetDict(element, NULL);
    if (fields == NULL) {
        PyErr_Clear();
        return 0;
    }
    Py_DECREF(fields);
    return POINTER(at[0]) == fields && same_inside(fields, DICT, at + 1) != NULL;
}

/* So many objects ahead, the processor is told where the containers are that will be looked at: between two puts its
   caches are filled with other things. */
#define AHEAD 8
#if defined(__GNUC__)
#define FETCH(address) __builtin_prefetch(address)
#else
#define FETCH(address) ((void)(address))
#endif

/* Give how many elements, of so many, are as they were seen. */
static Py_ssize_t count_unchanged(const Witness *witness, PyObject *elements, Py_ssize_t most)
{
    Py_ssize_t i = 0;
    for (; i < most; i++) {
        if (i + AHEAD < most) {
            const Word *end = witness->words + witness->seen[i + AHEAD + 1].end;
            for (const Word *at = witness->words + witness->seen[i + AHEAD].end; at < end; at++)
                if (MARK(*at) != LEAF && MARK(*at) != COUNT)
                    FETCH((char *)POINTER(*at) + sizeof(PyObject));
        }
        if (!same_object(witness, PyList_GET_ITEM(elements, i), witness->words + witness->seen[i].end))
            break;
    }
    return i;
}

/* Seeing. */

static int push(Witness *witness, Word word)
{
    if (witness->used == witness->room) {
        size_t room = witness->room + witness->room / 8 + 64;
        Word *words = PyMem_Realloc(witness->words, room * sizeof(Word));
        if (words == NULL)
            return 0;
        witness->words = words;
        witness->room = room;
    }
    witness->words[witness->used++] = word;
    return 1;
}

static int push_pointer(Witness *witness, PyObject *object, int mark)
{
    if (!push(witness, (Word)object | (Word)mark))
        return 0;
    Py_INCREF(object);
    return 1;
}

/* Give about how many bytes it takes in memory, without what others have as well. */
static size_t size_of_leaf(PyObject *value)
{
    if (PyUnicode_CheckExact(value)) {
        if (PyUnicode_CHECK_INTERNED(value))
            return 0;
        size_t length = (size_t)PyUnicode_GET_LENGTH(value);
        /* Packing has left it with its UTF-8, too. */
        size_t each = PyUnicode_IS_ASCII(value) ? 1 : (size_t)PyUnicode_KIND(value) + 2;
        return sizeof(PyCompactUnicodeObject) + length * each;
    }
    if (PyBytes_CheckExact(value))
        return sizeof(PyBytesObject) + (size_t)PyBytes_GET_SIZE(value);
    return PyLong_CheckExact(value) || PyFloat_CheckExact(value) ? 32 : 0;
}

static int is_leaf(PyObject *value)
{
    return value == Py_None || PyBool_Check(value) || PyUnicode_CheckExact(value) || PyLong_CheckExact(value) ||
           PyFloat_CheckExact(value) || PyBytes_CheckExact(value);
}

static int see_leaf(Witness *witness, PyObject *value, size_t *memory)
{
    *memory += size_of_leaf(value);
    return push_pointer(witness, value, LEAF);
}

/* Take down a value and all that is in it; 0: it is not covered, or there is no memory for it. */
static int see_value(Witness *witness, PyObject *value, int depth, size_t *memory)
{
    int is_dict = PyDict_CheckExact(value);
    if (!is_dict && !PyList_CheckExact(value))
        return is_leaf(value) && see_leaf(witness, value, memory);
    Py_ssize_t count = is_dict ? PyDict_GET_SIZE(value) : PyList_GET_SIZE(value);
    if (depth == 0 || count > MAX_WORDS || witness->used - witness->seen[witness->count].end > MAX_WORDS)
        return 0;
#ifdef VERSIONS
    size_t start = witness->used;
#endif
    if (!push_pointer(witness, value, is_dict ? DICT : LIST) || !push(witness, (Word)count * (MARKS + 1) + COUNT))
        return 0;
    if (!is_dict) {
        *memory += 72 + 8 * (size_t)count;
        for (Py_ssize_t i = 0; i < count; i++)
            if (!see_value(witness, PyList_GET_ITEM(value, i), depth - 1, memory))
                return 0;
        return 1;
    }
    *memory += count == 0 ? 80 : 200 + 32 * (size_t)count;
    Py_ssize_t position = 0;
    PyObject *key, *item;
#ifdef VERSIONS
    Word inside = 0;
    if (!push(witness, VERSION_OF(value)))
        return 0;
    while (PyDict_Next(value, &position, &key, &item)) {
        if (!PyUnicode_CheckExact(key))
            return 0;
        *memory += size_of_leaf(key);
        if (is_leaf(item))
            *memory += size_of_leaf(item);
        else if (see_value(witness, item, depth - 1, memory))
            inside++;
        else
            return 0;
    }
    witness->words[start + 1] = inside * (MARKS + 1) + COUNT;
#else
    while (PyDict_Next(value, &position, &key, &item)) {
        if (!PyUnicode_CheckExact(key) || !see_leaf(witness, key, memory) ||
            !see_value(witness, item, depth - 1, memory))
            return 0;
    }
#endif
    return 1;
}

static inline int has_no_extras(PyObject *extra)
{
    return extra == Py_None || (PyDict_CheckExact(extra) && PyDict_GET_SIZE(extra) == 0);
}

/* Take down an object, or nothing; 0: it is not covered. */
static int see(Witness *witness, PyObject *element, PyObject *extra, PyObject *fields)
{
    Seen *before = &witness->seen[witness->count];
    size_t start = before->end, memory = before->memory;
    if (has_no_extras(extra) && push_pointer(witness, element, OBJECT) &&
        push_pointer(witness, (PyObject *)Py_TYPE(element), LEAF) && see_value(witness, extra, 1, &memory) &&
        see_value(witness, fields, MAX_DEPTH, &memory) && witness->used - start <= MAX_WORDS) {
        witness->count++;
        /* Beside what was walked through: the names of the fields that were set, and its own part here. */
        memory += 500 + (size_t)Py_TYPE(element)->tp_basicsize + (witness->used - start) * sizeof(Word) + sizeof(Seen);
        witness->seen[witness->count] = (Seen){witness->used, memory};
        return 1;
    }
    /* The object has all of it still: nothing is destroyed. */
    while (witness->used > start)
        if (MARK(witness->words[--witness->used]) != COUNT)
            Py_DECREF(POINTER(witness->words[witness->used]));
    return 0;
}

static int make_room(Witness *witness, Py_ssize_t more)
{
    if (witness->count + more < witness->seen_room)
        return 1;
    Py_ssize_t room = witness->count + more + witness->count / 8 + 8;
    Seen *seen = PyMem_Realloc(witness->seen, (size_t)room * sizeof(Seen));
    if (seen == NULL)
        return 0;
    witness->seen = seen;
    witness->seen_room = room;
    return 1;
}

/* Give another witness of the first objects. */
static Witness *copy_of(const Witness *other, Py_ssize_t count, PyObject *slot)
{
    Witness *made = PyObject_GC_New(Witness, &WitnessType);
    if (made == NULL)
        return NULL;
    size_t used = count ? other->seen[count].end : 0;
    made->slot = Py_NewRef(slot);
    made->words = PyMem_Malloc(used * sizeof(Word));
    made->used = made->room = 0;
    made->seen = NULL;
    made->count = made->seen_room = 0;
    if (made->words == NULL || !make_room(made, count)) {
        Py_DECREF(made);
        return (Witness *)PyErr_NoMemory();
    }
    made->seen[0] = (Seen){0, 0};
    if (count)
        memcpy(made->seen, other->seen, (size_t)(count + 1) * sizeof(Seen));
    for (size_t i = 0; i < used; i++) {
        made->words[i] = other->words[i];
        if (MARK(made->words[i]) != COUNT)
            Py_INCREF(POINTER(made->words[i]));
    }
    made->used = made->room = used;
    made->count = count;
    PyObject_GC_Track(made);
    return made;
}

static PyObject *witness_new(PyTypeObject *Py_UNUSED(type), PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    PyObject *slot;
    if (!PyArg_ParseTuple(args, "O!", &PyMemberDescr_Type, &slot))
        return NULL;
    if (((PyMemberDescrObject *)slot)->d_member->type != T_OBJECT_EX)
        return PyErr_Format(PyExc_TypeError, "%R is not the descriptor of a slot", slot);
    return (PyObject *)copy_of(NULL, 0, slot);
}

static PyObject *witness_unchanged(Witness *self, PyObject *args)
{
    PyObject *elements;
    Py_ssize_t count, unit;
    if (!PyArg_ParseTuple(args, "nO!n", &count, &PyList_Type, &elements, &unit))
        return NULL;
    if (unit < 1)
        return PyErr_Format(PyExc_ValueError, "the unit is at least 1");
    PyObject *others = PyList_New(0);
    if (others == NULL)
        return NULL;
    /* From here on no Python code runs: not even if making a dict sets off a collection. */
    int collecting = PyGC_Disable(), failed = 0;
    Py_ssize_t most = Py_MIN(Py_MIN(count, self->count), PyList_GET_SIZE(elements));
    Py_ssize_t kept = count_unchanged(self, elements, most);
    if (kept < count)
        kept -= kept % unit;
    for (Py_ssize_t i = kept; i < PyList_GET_SIZE(elements) && !failed; i++)
        failed = PyList_Append(others, PyList_GET_ITEM(elements, i));
    if (collecting)
        PyGC_Enable();
    if (failed) {
        Py_DECREF(others);
        return NULL;
    }
    return Py_BuildValue("nN", kept, others);
}

/* Get the extras and the fields of objects of these types; 0: an error. */
static int get_states(const Witness *witness, PyObject *elements, PyObject *types, PyObject *extras, PyObject *fields)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(types); i++) {
        PyObject *element = PyList_GetItem(elements, i);
        if (element == NULL)
            return 0;
        PyTypeObject *type = Py_TYPE(element);
        if ((PyObject *)type != PyTuple_GET_ITEM(types, i) || !PyType_IsSubtype(type, PyDescr_TYPE(witness->slot))) {
            PyErr_SetString(PyExc_TypeError, "an object is not of the type that it was of");
            return 0;
        }
        PyObject *extra = in_slot(witness, element), *dict = PyObject_GenericGetDict(element, NULL);
        if (extra == NULL || dict == NULL) {
            Py_XDECREF(dict);
            PyErr_SetString(PyExc_AttributeError, "an object lacks what pydantic gives it");
            return 0;
        }
        PyList_SET_ITEM(extras, i, Py_NewRef(extra));
        PyList_SET_ITEM(fields, i, dict);
    }
    return 1;
}

/* Give a witness of the first objects that so many others can be added to; NULL, without an error: there is no memory.
   What somebody else has added to is copied; so is nothing, which everybody begins with. */
static Witness *copy_to_add_to(Witness *witness, Py_ssize_t kept, Py_ssize_t more)
{
    Witness *made = kept && kept == witness->count ? (Witness *)Py_NewRef(witness)
                                                   : copy_of(witness, kept, witness->slot);
    if (made != NULL && make_room(made, more))
        return made;
    Py_XDECREF(made);
    PyErr_Clear();
    return NULL;
}

/* Give a witness of the first objects, and of others. Without an error, NULL: one is not covered. */
static Witness *see_all(Witness *witness, Py_ssize_t kept, PyObject *elements, PyObject *extras, PyObject *fields)
{
    Py_ssize_t i = 0, count = PyList_GET_SIZE(extras);
    Witness *made = copy_to_add_to(witness, kept, count);
    if (made == NULL)
        return NULL;
    while (i < count &&
           see(made, PyList_GET_ITEM(elements, i), PyList_GET_ITEM(extras, i), PyList_GET_ITEM(fields, i)))
        i++;
    if (i < count)
        Py_CLEAR(made);
    return made;
}

static PyObject *witness_pack(Witness *self, PyObject *args)
{
    Py_ssize_t kept;
    PyObject *elements, *types, *packb, *options, *packed = NULL, *both, *witness = NULL;
    if (!PyArg_ParseTuple(args, "nO!O!O!O", &kept, &PyList_Type, &elements, &PyTuple_Type, &types, &PyCFunction_Type,
                          &packb, &options))
        return NULL;
    if (kept < 0 || kept > self->count)
        return PyErr_Format(PyExc_ValueError, "there are not so many objects");
    PyObject *extras = PyList_New(PyTuple_GET_SIZE(types)), *fields = PyList_New(PyTuple_GET_SIZE(types));
    if (extras == NULL || fields == NULL || (both = Py_BuildValue("[OO]", extras, fields)) == NULL)
        goto done;
    /* From here on no Python code runs: what is packed is what is seen. */
    int collecting = PyGC_Disable();
    if (get_states(self, elements, types, extras, fields))
        packed = PyObject_Vectorcall(packb, (PyObject *[]){both, Py_None, options}, 3, NULL);
    if (packed != NULL)
        witness = (PyObject *)see_all(self, kept, elements, extras, fields);
    if (collecting)
        PyGC_Enable();
    Py_DECREF(both);
done:
    Py_XDECREF(extras);
    Py_XDECREF(fields);
    if (packed == NULL)
        return NULL;
    return Py_BuildValue("NN", packed, witness ? witness : Py_NewRef(Py_None));
}

static PyObject *witness_pack_one(Witness *self, PyObject *args)
{
    Py_ssize_t kept;
    PyObject *element, *type, *packb, *options, *fields, *names = NULL, *packed = NULL, *witness = NULL;
    if (!PyArg_ParseTuple(args, "nOO!O!O", &kept, &element, &PyType_Type, &type, &PyCFunction_Type, &packb, &options))
        return NULL;
    if (kept < 0 || kept > self->count)
        return PyErr_Format(PyExc_ValueError, "there are not so many objects");
    if ((PyObject *)Py_TYPE(element) != type || !PyType_IsSubtype(Py_TYPE(element), PyDescr_TYPE(self->slot)))
        Py_RETURN_NONE;
    /* From here on no Python code runs: what is packed is what is seen, and what is named. */
    int collecting = PyGC_Disable();
    PyObject *extra = Py_XNewRef(in_slot(self, element));
    if (extra != NULL && has_no_extras(extra) && (fields = PyObject_GenericGetDict(element, NULL)) != NULL) {
        if (PyDict_CheckExact(fields) && (names = PyDict_Keys(fields)) != NULL)
            packed = PyObject_Vectorcall(packb, (PyObject *[]){fields, Py_None, options}, 3, NULL);
        if (packed != NULL) {
            Witness *made = copy_to_add_to(self, kept, 1);
            if (made != NULL && see(made, element, extra, fields))
                witness = (PyObject *)made;
            else
                Py_XDECREF(made);
        }
        Py_DECREF(fields);
    }
    if (collecting)
        PyGC_Enable();
    Py_XDECREF(extra);
    if (packed != NULL)
        return Py_BuildValue("NNN", packed, names, witness ? witness : Py_NewRef(Py_None));
    /* Whatever it is that it lacks, or holds: it is not covered. */
    Py_XDECREF(names);
    PyErr_Clear();
    Py_RETURN_NONE;
}

static PyObject *witness_memory(Witness *self, PyObject *args)
{
    Py_ssize_t count;
    if (!PyArg_ParseTuple(args, "n", &count))
        return NULL;
    return PyLong_FromSize_t(self->seen[Py_MAX(0, Py_MIN(count, self->count))].memory);
}

static int witness_traverse(Witness *self, visitproc visit, void *arg)
{
    Py_VISIT(self->slot);
    for (size_t i = 0; i < self->used; i++) {
        int mark = MARK(self->words[i]);
        if (mark != LEAF && mark != COUNT) /* what refers to nothing, the collector need not know */
            Py_VISIT(POINTER(self->words[i]));
    }
    return 0;
}

static int witness_clear(Witness *self)
{
    /* Out of sight first: what is let go of may be anybody's. */
    Word *words = self->words;
    size_t used = self->used;
    self->words = NULL;
    self->used = self->room = 0;
    self->count = 0;
    for (size_t i = 0; i < used; i++)
        if (MARK(words[i]) != COUNT)
            Py_DECREF(POINTER(words[i]));
    PyMem_Free(words);
    return 0;
}

static void witness_dealloc(Witness *self)
{
    PyObject_GC_UnTrack(self);
    witness_clear(self);
    PyMem_Free(self->seen);
    Py_DECREF(self->slot);
    PyObject_GC_Del(self);
}

static PyMethodDef methods[] = {
    {"unchanged", (PyCFunction)witness_unchanged, METH_VARARGS, NULL},
    {"pack", (PyCFunction)witness_pack, METH_VARARGS, NULL},
    {"pack_one", (PyCFunction)witness_pack_one, METH_VARARGS, NULL},
    {"memory", (PyCFunction)witness_memory, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject WitnessType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "langgraph_eventlog.saver._witness.Witness",
    .tp_basicsize = sizeof(Witness),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = witness_new,
    .tp_traverse = (traverseproc)witness_traverse,
    .tp_clear = (inquiry)witness_clear,
    .tp_dealloc = (destructor)witness_dealloc,
    .tp_methods = methods,
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "_witness", .m_size = -1};

PyMODINIT_FUNC PyInit__witness(void)
{
    PyObject *made = PyModule_Create(&module);
    if (made != NULL && PyModule_AddType(made, &WitnessType) < 0)
        Py_CLEAR(made);
    return made;
}
