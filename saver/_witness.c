/* Tells by pointers alone whether objects have changed in place. What it guarantees, and why: witness.py. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>
#include <stdint.h>
#include <structmember.h>

#ifdef Py_GIL_DISABLED
#error "what it guarantees rests on the GIL: without it, the saver works without this module"
#endif

/* What was seen of objects is one array of words, in the order in which it is looked at again: so that looking reads it
   from front to back, and of the objects only what could have changed. A word is a pointer that is held, with a mark of
   what follows it, or a count.

   An object: its pointer; its type; its extras, None or an empty dict; its fields, a dict.
   A dict: its pointer; how many entries; each key and value. A list: its pointer; how many items; each.
   Anything else is something that can never change: its pointer. */
typedef uintptr_t Word;
enum { LEAF = 0, DICT = 1, LIST = 2, OBJECT = 3, COUNT = 7, MARKS = 7 };
#define MARK(word) ((int)((word) & MARKS))
#define POINTER(word) ((PyObject *)((word) & ~(Word)MARKS))

/* Deeper, or larger, and an object is not covered: what contains itself would be walked through for ever. */
#define MAX_DEPTH 32
#define MAX_WORDS 65536

/* Of one object: where its words end, and what it and those before it take in memory. */
typedef struct {
    size_t end;
    size_t memory;
} Seen;

/* What was seen, one object after the other. Shared by witnesses that begin alike: only ever added to. */
typedef struct {
    PyObject_HEAD
    Word *words;
    size_t used, room;
    Seen *seen;
    Py_ssize_t count, seen_room;
} Store;

typedef struct {
    PyObject_HEAD
    Store *store;
    Py_ssize_t count;       /* it vouches for so many of the store's first objects */
    PyObject *slot;         /* the descriptor of the objects' extras */
} Witness;

static PyTypeObject StoreType, WitnessType;

/* ---- looking again: nothing is called that could run Python code, and no reference count changes ---- */

static const Word *same_inside(PyObject *container, int mark, const Word *at);

/* Give what follows the words of a value if it is what they say; NULL if not. */
static inline const Word *
same_value(PyObject *value, const Word *at)
{
    Word expected = *at++;
    if ((expected & ~(Word)MARKS) != (Word)value)
        return NULL;
    return MARK(expected) == LEAF ? at : same_inside(value, MARK(expected), at);
}

/* It is the very same container: so it is of the type that it was of, exactly dict or list. */
static const Word *
same_inside(PyObject *container, int mark, const Word *at)
{
    Py_ssize_t count = (Py_ssize_t)(*at++ / (MARKS + 1));
    if (mark == LIST) {
        if (PyList_GET_SIZE(container) != count)
            return NULL;
        for (Py_ssize_t i = 0; i < count && at != NULL; i++)
            at = same_value(PyList_GET_ITEM(container, i), at);
        return at;
    }
    if (PyDict_GET_SIZE(container) != count)
        return NULL;
    Py_ssize_t position = 0;
    PyObject *key, *value;
    for (; count > 0 && at != NULL && PyDict_Next(container, &position, &key, &value); count--)
        at = (Word)key == *at ? same_value(value, at + 1) : NULL;
    return count == 0 ? at : NULL;
}

static inline PyObject *
in_slot(PyObject *element, Py_ssize_t offset)
{
    return *(PyObject **)((char *)element + offset);
}

static int
same_object(PyObject *element, const Word *at, Py_ssize_t offset)
{
    if (POINTER(at[0]) != element || (Word)Py_TYPE(element) != at[1])
        return 0;
    at = same_value(in_slot(element, offset), at + 2);
    if (at == NULL)
        return 0;
    /* If its dict is gone, Python makes another, which is not the one that is held: nothing is looked at after that,
       whatever making it may have set off. */
    Word expected = *at;
    PyObject *fields = PyObject_GenericGetDict(element, NULL);
    if (fields == NULL) {
        PyErr_Clear();
        return 0;
    }
    Py_DECREF(fields);
    return (Word)fields == (expected & ~(Word)MARKS) && same_inside(fields, DICT, at + 1) != NULL;
}

/* ---- seeing ---- */

static int
push(Store *store, Word word)
{
    if (store->used == store->room) {
        size_t room = store->room + store->room / 8 + 64;
        Word *words = PyMem_Realloc(store->words, room * sizeof(Word));
        if (words == NULL)
            return 0;
        store->words = words;
        store->room = room;
    }
    store->words[store->used++] = word;
    return 1;
}

static int
push_pointer(Store *store, PyObject *object, int mark)
{
    if (!push(store, (Word)object | (Word)mark))
        return 0;
    Py_INCREF(object);
    return 1;
}

/* Give about how many bytes it takes in memory, without what others have as well. */
static size_t
size_of_leaf(PyObject *value)
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

static int
is_leaf(PyObject *value)
{
    return value == Py_None || PyBool_Check(value) || PyUnicode_CheckExact(value) || PyLong_CheckExact(value) ||
           PyFloat_CheckExact(value) || PyBytes_CheckExact(value);
}

static int
see_leaf(Store *store, PyObject *value, size_t *memory)
{
    *memory += size_of_leaf(value);
    return push_pointer(store, value, LEAF);
}

/* Take down a value and all that is in it; 0: it is not covered, or there is no memory for it. */
static int
see_value(Store *store, PyObject *value, int depth, size_t *memory)
{
    int is_dict = PyDict_CheckExact(value);
    if (!is_dict && !PyList_CheckExact(value))
        return is_leaf(value) && see_leaf(store, value, memory);
    Py_ssize_t count = is_dict ? PyDict_GET_SIZE(value) : PyList_GET_SIZE(value);
    if (depth == 0 || count > MAX_WORDS || store->used - store->seen[store->count].end > MAX_WORDS)
        return 0;
    if (!push_pointer(store, value, is_dict ? DICT : LIST) || !push(store, (Word)count * (MARKS + 1) + COUNT))
        return 0;
    if (!is_dict) {
        *memory += 72 + 8 * (size_t)count;
        for (Py_ssize_t i = 0; i < count; i++)
            if (!see_value(store, PyList_GET_ITEM(value, i), depth - 1, memory))
                return 0;
        return 1;
    }
    *memory += count == 0 ? 80 : 200 + 32 * (size_t)count;
    Py_ssize_t position = 0;
    PyObject *key, *item;
    while (PyDict_Next(value, &position, &key, &item)) {
        if (!PyUnicode_CheckExact(key) || !see_leaf(store, key, memory) ||
            !see_value(store, item, depth - 1, memory))
            return 0;
    }
    return 1;
}

/* Take down an object, or nothing; 0: it is not covered. */
static int
see(Store *store, PyObject *element, PyObject *extra, PyObject *fields)
{
    Seen *before = &store->seen[store->count];
    size_t start = before->end, memory = before->memory;
    int is_plain = extra == Py_None || (PyDict_CheckExact(extra) && PyDict_GET_SIZE(extra) == 0);
    if (is_plain && push_pointer(store, element, OBJECT) &&
        push_pointer(store, (PyObject *)Py_TYPE(element), LEAF) && see_value(store, extra, 1, &memory) &&
        see_value(store, fields, MAX_DEPTH, &memory) && store->used - start <= MAX_WORDS) {
        store->count++;
        /* Beside what was walked through: the names of the fields that were set, and its own part here. */
        memory += 500 + (size_t)Py_TYPE(element)->tp_basicsize + (store->used - start) * sizeof(Word) + sizeof(Seen);
        store->seen[store->count] = (Seen){store->used, memory};
        return 1;
    }
    /* The object has all of it still: nothing is destroyed. */
    while (store->used > start)
        if (MARK(store->words[--store->used]) != COUNT)
            Py_DECREF(POINTER(store->words[store->used]));
    return 0;
}

/* ---- the store ---- */

static int
make_room(Store *store, Py_ssize_t more)
{
    if (store->count + more < store->seen_room)
        return 1;
    Py_ssize_t room = store->count + more + store->count / 8 + 8;
    Seen *seen = PyMem_Realloc(store->seen, (size_t)room * sizeof(Seen));
    if (seen == NULL)
        return 0;
    store->seen = seen;
    store->seen_room = room;
    return 1;
}

/* Give a new store that begins as another. */
static Store *
copy_of(const Store *other, Py_ssize_t count)
{
    Store *store = PyObject_GC_New(Store, &StoreType);
    if (store == NULL)
        return NULL;
    store->words = NULL;
    store->seen = NULL;
    store->used = store->room = 0;
    store->count = store->seen_room = 0;
    size_t used = count ? other->seen[count].end : 0;
    if (!make_room(store, count) || (used && (store->words = PyMem_Malloc(used * sizeof(Word))) == NULL)) {
        Py_DECREF(store);
        PyErr_NoMemory();
        return NULL;
    }
    store->seen[0] = (Seen){0, 0};
    for (Py_ssize_t i = 1; i <= count; i++)
        store->seen[i] = other->seen[i];
    for (size_t i = 0; i < used; i++) {
        store->words[i] = other->words[i];
        if (MARK(store->words[i]) != COUNT)
            Py_INCREF(POINTER(store->words[i]));
    }
    store->used = store->room = used;
    store->count = count;
    PyObject_GC_Track(store);
    return store;
}

static int
store_traverse(Store *store, visitproc visit, void *arg)
{
    for (size_t i = 0; i < store->used; i++) {
        int mark = MARK(store->words[i]);
        if (mark != LEAF && mark != COUNT) /* of what cannot refer to anything, the collector need not know */
            Py_VISIT(POINTER(store->words[i]));
    }
    return 0;
}

static int
store_clear(Store *store)
{
    /* Nobody may find what is being let go of. */
    Word *words = store->words;
    size_t used = store->used;
    store->words = NULL;
    store->used = store->room = 0;
    store->count = 0;
    for (size_t i = 0; i < used; i++)
        if (MARK(words[i]) != COUNT)
            Py_DECREF(POINTER(words[i]));
    PyMem_Free(words);
    return 0;
}

static void
store_dealloc(Store *store)
{
    PyObject_GC_UnTrack(store);
    store_clear(store);
    PyMem_Free(store->seen);
    PyObject_GC_Del(store);
}

static PyTypeObject StoreType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "langgraph_eventlog.saver._witness.Store",
    .tp_basicsize = sizeof(Store),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_traverse = (traverseproc)store_traverse,
    .tp_clear = (inquiry)store_clear,
    .tp_dealloc = (destructor)store_dealloc,
};

/* ---- the witness ---- */

/* While an object's dict is made, or what packs allocates, a collection might run anybody's Python code. */
static int
begin_undisturbed(void)
{
    return PyGC_Disable();
}

static void
end_undisturbed(int was_enabled)
{
    if (was_enabled)
        PyGC_Enable();
}

static Py_ssize_t
offset_of(const Witness *witness)
{
    return ((PyMemberDescrObject *)witness->slot)->d_member->offset;
}

static Witness *
new_witness(Store *store, Py_ssize_t count, PyObject *slot)
{
    Witness *made = PyObject_GC_New(Witness, &WitnessType);
    if (made == NULL)
        return NULL;
    made->store = (Store *)Py_NewRef(store);
    made->count = count;
    made->slot = Py_NewRef(slot);
    PyObject_GC_Track(made);
    return made;
}

static PyObject *
witness_new(PyTypeObject *Py_UNUSED(type), PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    PyObject *slot;
    if (!PyArg_ParseTuple(args, "O!", &PyMemberDescr_Type, &slot))
        return NULL;
    if (((PyMemberDescrObject *)slot)->d_member->type != T_OBJECT_EX) {
        PyErr_SetString(PyExc_TypeError, "it takes the descriptor of a slot");
        return NULL;
    }
    Store *store = copy_of(NULL, 0);
    if (store == NULL)
        return NULL;
    Witness *made = new_witness(store, 0, slot);
    Py_DECREF(store);
    return (PyObject *)made;
}

static Py_ssize_t
witness_length(Witness *self)
{
    return Py_MIN(self->count, self->store->count); /* the collector may have emptied the store */
}

#if defined(__GNUC__)
#define PREFETCH(address) __builtin_prefetch(address)
#else
#define PREFETCH(address) ((void)(address))
#endif
/* So many objects ahead, the processor is told what will be looked at, and half as many ahead, where these point to. */
#define AHEAD 8

static void
fetch_ahead(const Store *store, Py_ssize_t at, Py_ssize_t most)
{
    if (at + AHEAD < most)
        for (size_t i = store->seen[at + AHEAD].end; i < store->seen[at + AHEAD + 1].end; i++)
            if (MARK(store->words[i]) != LEAF && MARK(store->words[i]) != COUNT)
                PREFETCH((char *)POINTER(store->words[i]) + 16);
    if (at + AHEAD / 2 < most)
        for (size_t i = store->seen[at + AHEAD / 2].end; i < store->seen[at + AHEAD / 2 + 1].end; i++)
            if (MARK(store->words[i]) == DICT && store->words[i + 1] > COUNT) {
                const char *entries = (const char *)((PyDictObject *)POINTER(store->words[i]))->ma_keys;
                for (int line = 0; line < 5; line++)
                    PREFETCH(entries + 64 * line);
            }
}

static PyObject *
witness_unchanged(Witness *self, PyObject *args)
{
    PyObject *elements;
    Py_ssize_t unit, kept = 0, offset = offset_of(self);
    if (!PyArg_ParseTuple(args, "O!n", &PyList_Type, &elements, &unit))
        return NULL;
    if (unit < 1) {
        PyErr_SetString(PyExc_ValueError, "the unit is at least 1");
        return NULL;
    }
    PyObject *rest = PyList_New(0);
    if (rest == NULL)
        return NULL;
    int collecting = begin_undisturbed();
    Store *store = self->store;
    Py_ssize_t most = Py_MIN(witness_length(self), PyList_GET_SIZE(elements));
    for (; kept < most; kept++) {
        fetch_ahead(store, kept, most);
        if (!same_object(PyList_GET_ITEM(elements, kept), store->words + store->seen[kept].end, offset))
            break;
    }
    if (kept < self->count)
        kept -= kept % unit;
    int failed = 0;
    for (Py_ssize_t i = kept; i < PyList_GET_SIZE(elements) && !failed; i++)
        failed = PyList_Append(rest, PyList_GET_ITEM(elements, i));
    end_undisturbed(collecting);
    if (failed) {
        Py_DECREF(rest);
        return NULL;
    }
    return Py_BuildValue("nN", kept, rest);
}

/* Fill in the states of objects: [extras, fields]. */
static int
get_states(PyObject *elements, PyObject *types, PyObject *extras, PyObject *states, PyObject *slot)
{
    Py_ssize_t offset = ((PyMemberDescrObject *)slot)->d_member->offset;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(types); i++) {
        PyObject *element = PyList_GetItem(elements, i);
        if (element == NULL)
            return 0;
        PyTypeObject *type = Py_TYPE(element);
        if ((PyObject *)type != PyTuple_GET_ITEM(types, i) || !PyType_IsSubtype(type, PyDescr_TYPE(slot))) {
            PyErr_SetString(PyExc_TypeError, "an object is not of the type that it was of");
            return 0;
        }
        PyObject *extra = in_slot(element, offset), *fields = PyObject_GenericGetDict(element, NULL);
        if (extra == NULL || fields == NULL) {
            Py_XDECREF(fields);
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_AttributeError, "an object lacks what pydantic gives it");
            return 0;
        }
        PyList_SET_ITEM(extras, i, Py_NewRef(extra));
        PyList_SET_ITEM(states, i, fields);
    }
    return 1;
}

static PyObject *
witness_pack(Witness *self, PyObject *args)
{
    Py_ssize_t kept;
    PyObject *elements, *types, *packb, *options, *packed = NULL, *both = NULL, *extras = NULL, *states = NULL;
    Store *store = NULL;
    Witness *witness = NULL;
    if (!PyArg_ParseTuple(args, "nO!O!O!O", &kept, &PyList_Type, &elements, &PyTuple_Type, &types, &PyCFunction_Type,
                          &packb, &options))
        return NULL;
    Py_ssize_t count = PyList_GET_SIZE(elements);
    if (kept < 0 || kept > witness_length(self) || count != PyTuple_GET_SIZE(types)) {
        PyErr_SetString(PyExc_ValueError, "there are not so many");
        return NULL;
    }
    if ((extras = PyList_New(count)) == NULL || (states = PyList_New(count)) == NULL ||
        (both = Py_BuildValue("[OO]", extras, states)) == NULL)
        goto done;
    /* From here on no Python code runs: what is packed is what is seen. */
    int collecting = begin_undisturbed();
    if (get_states(elements, types, extras, states, self->slot))
        packed = PyObject_Vectorcall(packb, (PyObject *[]){both, Py_None, options}, 3, NULL);
    if (packed != NULL) {
        /* What nobody has grown yet is grown; what is for everybody never is. */
        store = kept && kept == self->store->count ? (Store *)Py_NewRef(self->store) : copy_of(self->store, kept);
        if (store != NULL && make_room(store, count)) {
            Py_ssize_t i = 0;
            while (i < count && see(store, PyList_GET_ITEM(elements, i), PyList_GET_ITEM(extras, i),
                                    PyList_GET_ITEM(states, i)))
                i++;
            if (i == count)
                witness = new_witness(store, kept + count, self->slot);
        }
    }
    end_undisturbed(collecting);
done:
    Py_XDECREF(both);
    Py_XDECREF(extras);
    Py_XDECREF(states);
    Py_XDECREF(store);
    if (packed == NULL)
        return NULL;
    PyErr_Clear(); /* without memory for it, there is no witness */
    if (witness == NULL)
        return Py_BuildValue("NO", packed, Py_None);
    return Py_BuildValue("NN", packed, witness);
}

static PyObject *
witness_memory(Witness *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSize_t(self->store->seen[witness_length(self)].memory);
}

static int
witness_traverse(Witness *self, visitproc visit, void *arg)
{
    Py_VISIT(self->store);
    Py_VISIT(self->slot);
    return 0;
}

static void
witness_dealloc(Witness *self)
{
    PyObject_GC_UnTrack(self);
    Py_DECREF(self->store);
    Py_DECREF(self->slot);
    PyObject_GC_Del(self);
}

static PyMethodDef witness_methods[] = {
    {"unchanged", (PyCFunction)witness_unchanged, METH_VARARGS, NULL},
    {"pack", (PyCFunction)witness_pack, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef witness_properties[] = {
    {"memory", (getter)witness_memory, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PySequenceMethods witness_as_sequence = {.sq_length = (lenfunc)witness_length};

static PyTypeObject WitnessType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "langgraph_eventlog.saver._witness.Witness",
    .tp_basicsize = sizeof(Witness),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = witness_new,
    .tp_traverse = (traverseproc)witness_traverse,
    .tp_dealloc = (destructor)witness_dealloc,
    .tp_methods = witness_methods,
    .tp_getset = witness_properties,
    .tp_as_sequence = &witness_as_sequence,
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "_witness", .m_size = -1};

PyMODINIT_FUNC
PyInit__witness(void)
{
    if (PyType_Ready(&StoreType) < 0)
        return NULL;
    PyObject *made = PyModule_Create(&module);
    if (made != NULL && PyModule_AddType(made, &WitnessType) < 0)
        Py_CLEAR(made);
    return made;
}
