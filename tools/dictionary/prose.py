"""Text such as agents and their users write, put together by chance from phrases written for this purpose."""

from __future__ import annotations

import json
import random

__all__ = ["answer", "as_json", "code", "page", "question", "records", "sentence", "words"]

_OPENINGS = (
    "Here is a summary of",
    "Here are the most important points about",
    "I found the following information about",
    "Based on the results, it looks like",
    "According to the documentation,",
    "Let me look into",
    "Let me check whether",
    "To answer your question,",
    "In this case,",
    "For example,",
    "However, please note that",
    "If you would like to know more about",
    "You can use",
    "I would recommend that you look at",
    "There are several ways to think about",
    "The first step is to find",
    "As you can see,",
    "In addition to that,",
    "This means that",
    "The main difference between them is that",
    "It is important to understand that",
    "After that, we should be able to see",
    "By default,",
    "Sorry, but I could not find",
    "Thank you for",
    "Sure! I can help you with",
    "On the other hand,",
    "When it comes to",
    "Because of this,",
    "It should be noted that",
    "The other thing to know is that",
)
_SUBJECTS = (
    "the number of",
    "the current version of",
    "the name of",
    "the value of",
    "the rest of",
    "the following",
    "the next step in",
    "the last part of",
    "the results from",
    "the information about",
    "a list of",
    "a different kind of",
    "some of the",
    "each of the",
    "most of the",
    "all of the",
    "one of the",
    "any other",
    "this",
    "the",
    "our",
    "your",
    "their",
    "its",
)
_NOUNS = (
    "account", "address", "agreement", "analysis", "application", "argument", "article", "attribute", "balance",
    "book", "budget", "calendar", "change", "city", "class", "company", "condition", "connection", "context",
    "contract", "country", "customer", "data", "database", "date", "decision", "delivery", "description", "design",
    "detail", "document", "email", "error", "event", "example", "experience", "expression", "feature", "file",
    "flight", "function", "government", "group", "history", "hotel", "implementation", "information", "interface",
    "invoice", "issue", "item", "language", "library", "list", "management", "market", "meeting", "message",
    "method", "model", "module", "money", "month", "network", "number", "object", "operation", "option", "order",
    "page", "parameter", "payment", "people", "performance", "person", "place", "plan", "policy", "price",
    "problem", "process", "product", "program", "project", "question", "reason", "recipe", "recommendation",
    "refund", "report", "request", "research", "response", "result", "review", "schedule", "search", "section",
    "security", "sequence", "server", "service", "session", "shipment", "situation", "software", "solution",
    "source", "statement", "status", "story", "string", "student", "subscription", "support", "system", "table",
    "team", "technology", "test", "ticket", "time", "tool", "transaction", "travel", "type", "update", "user",
    "value", "variable", "version", "weather", "website", "week", "world", "year",
)  # fmt: skip
_VERBS = (
    "is", "are", "was", "were", "has been", "have been", "will be", "can be", "should be", "must be", "may be",
    "does not", "do not", "did not", "would not", "could not", "is used to", "is not", "has", "have", "had", "makes",
    "takes", "gives", "returns", "contains", "provides", "requires", "supports", "includes", "shows", "means",
    "allows", "becomes", "depends on", "refers to", "is based on", "is called", "is defined by", "is available in",
    "needs", "works with", "changes", "creates", "starts with", "ends in", "follows", "uses",
)  # fmt: skip
_ADJECTIVES = (
    "able", "additional", "available", "best", "better", "big", "clear", "common", "complete", "correct", "current",
    "different", "difficult", "early", "easy", "empty", "equal", "existing", "external", "final", "first", "free",
    "full", "general", "given", "good", "great", "high", "important", "internal", "international", "large", "last",
    "local", "long", "low", "main", "missing", "multiple", "necessary", "new", "next", "normal", "old", "only",
    "open", "optional", "original", "particular", "possible", "previous", "private", "public", "ready", "real",
    "recent", "related", "relevant", "required", "right", "same", "second", "several", "short", "similar", "simple",
    "single", "small", "special", "specific", "standard", "strong", "sure", "total", "useful", "usual", "valid",
    "various", "whole",
)  # fmt: skip
_LINKS = (
    "and", "or", "but", "with", "without", "for", "from", "in", "of", "on", "to", "by", "as", "at", "into", "about",
    "after", "before", "between", "through", "during", "under", "over", "because", "so that", "if", "when", "where",
    "which", "who", "that", "while", "than", "then", "such as", "as well as", "in order to", "instead of",
    "at least", "more than", "less than", "up to", "based on", "according to", "because of", "for each of",
)  # fmt: skip
_ADVERBS = (
    "also", "always", "already", "usually", "only", "now", "often", "never", "still", "just", "really", "not", "very",
    "probably", "currently", "directly", "automatically", "therefore", "otherwise", "instead", "again",
)  # fmt: skip
_QUESTIONS = (
    "What is", "What are", "How do I", "How can I", "How many", "How much", "Can you", "Could you please", "Please",
    "Why does", "When will", "Where can I find", "Which", "Who is", "I would like to", "I need to", "I want to",
    "Tell me about", "Help me", "Show me", "Give me", "Find", "Write", "Explain", "Compare", "Is there", "Do you know",
)  # fmt: skip
_DEEDS = (
    "find", "look up", "change", "check", "compare", "book", "cancel", "explain", "write", "send", "create", "delete",
    "update", "summarize", "translate", "search for", "calculate", "plan", "review", "test", "fix", "order",
)  # fmt: skip
_KEYS = (
    "id", "name", "type", "title", "description", "status", "content", "text", "value", "url", "source", "date",
    "created_at", "updated_at", "email", "price", "amount", "currency", "quantity", "items", "results", "score",
    "query", "user", "user_id", "address", "city", "country", "language", "category", "tags", "total", "count",
    "page", "data", "message", "error", "code", "start", "end", "summary", "metadata", "version", "path", "key",
)  # fmt: skip
_CODE = (
    "def {a}(self, {b}: str) -> dict[str, Any]:\n    return self.{c}({b})\n",
    "import {a}\nfrom {b} import {c}\n\n",
    "class {a}:\n    def __init__(self, {b}, {c}=None):\n        self.{b} = {b}\n        self.{c} = {c}\n",
    "for {a} in {b}:\n    if {a} is None:\n        continue\n    print({c})\n",
    "try:\n    {a} = {b}({c})\nexcept ValueError as e:\n    raise\n",
    "SELECT {a}, {b} FROM {c} WHERE {a} = 1 ORDER BY {b}",
    "const {a} = await {b}({c});\nif (!{a}) {{\n  return null;\n}}\n",
    "$ pip install {a}\n$ python -m {b} --{c}\n",
    '<div class="{a}"><a href="https://www.{b}.com/{c}">{a}</a></div>\n',
    ">>> {a} = {b}({c})\n>>> {a}\n",
)


def words(chance: random.Random) -> str:
    """Give a thing by its name: one to three words."""
    noun = chance.choice(_NOUNS) + ("s" if chance.random() < 0.3 else "")
    return f"{chance.choice(_ADJECTIVES)} {noun}" if chance.random() < 0.5 else noun


def _clause(chance: random.Random) -> str:
    parts = [chance.choice(_SUBJECTS), words(chance)]
    if chance.random() < 0.25:
        parts.append(chance.choice(_ADVERBS))
    parts += [chance.choice(_VERBS), chance.choice(("the", "a", "an", "", "this", "your")), words(chance)]
    if chance.random() < 0.6:
        parts += [chance.choice(_LINKS), chance.choice(("the", "a", "", "that", "it", "these")), words(chance)]
    return " ".join(part for part in parts if part)


def sentence(chance: random.Random) -> str:
    """Give a sentence."""
    text = _clause(chance)
    text = f"{chance.choice(_OPENINGS)} {text}" if chance.random() < 0.4 else text[0].upper() + text[1:]
    if chance.random() < 0.5:
        text += f"{chance.choice((',', '', ' (', ':', ';'))} {chance.choice(_LINKS)} {_clause(chance)}"
    return text + chance.choice(".....!?")


def question(chance: random.Random) -> str:
    """Give what a user asks."""
    asked = f"{chance.choice(_QUESTIONS)} {chance.choice(_DEEDS)} {_clause(chance)}{chance.choice('??.')}"
    return " ".join([asked, *(sentence(chance) for _ in range(chance.choice((0, 0, 1, 3))))])


def code(chance: random.Random) -> str:
    """Give a fragment of code."""
    names = [chance.choice(_NOUNS + _KEYS) for _ in range(3)]
    return chance.choice(_CODE).format(a=names[0], b=names[1], c=names[2])


def answer(chance: random.Random) -> str:
    """Give what an assistant writes: prose, sometimes Markdown."""
    paragraphs = [
        " ".join(sentence(chance) for _ in range(chance.randrange(1, 4))) for _ in range(chance.choice((1, 1, 2, 3)))
    ]
    extra = chance.random()
    if extra < 0.15:
        paragraphs.append("\n".join(f"- **{words(chance).title()}**: {sentence(chance)}" for _ in range(3)))
    elif extra < 0.25:
        paragraphs.append("\n".join(f"{i}. {sentence(chance)}" for i in (1, 2, 3)))
    elif extra < 0.35:
        paragraphs.append(f"```python\n{code(chance)}```")
    elif extra < 0.4:
        paragraphs.insert(0, f"## {words(chance).title()}")
    return "\n\n".join(paragraphs)


def page(chance: random.Random) -> str:
    """Give what a search or a document brings."""
    return "\n\n".join(chance.choice((answer, answer, answer, code))(chance) for _ in range(chance.choice((1, 1, 2))))


def records(chance: random.Random, depth: int = 0) -> dict[str, object]:
    """Give a dict such as tools answer with."""
    found: dict[str, object] = {}
    for key in chance.sample(_KEYS, chance.randrange(2, 6)):
        found[key] = chance.choice(
            (
                words(chance),
                sentence(chance),
                chance.randrange(100_000),
                round(chance.random() * 1000, 2),
                chance.random() < 0.5,
                None,
                [words(chance) for _ in range(chance.randrange(3))],
                f"https://www.{chance.choice(_NOUNS)}.com/{chance.choice(_NOUNS)}",
                f"{chance.choice(_NOUNS)}@example.com",
                records(chance, depth + 1) if depth < 1 else {},
            )
        )
    return found


def as_json(chance: random.Random) -> str:
    """Give such a dict, or a list of them, as JSON text."""
    found: object = records(chance) if chance.random() < 0.6 else [records(chance) for _ in range(2)]
    return json.dumps(found, indent=2 if chance.random() < 0.2 else None)
