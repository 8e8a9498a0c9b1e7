"""scripts/convert_task.py: what it makes of the files of benchmarks."""

import gzip
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "convert_task.py"


class ConvertTask(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def write(self, name, content):
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return str(path)

    def run_script(self, *arguments):
        return subprocess.run([sys.executable, str(SCRIPT), *arguments, "--output",
                               str(self.folder / "out")], capture_output=True, text=True,
                              check=False)

    def converted(self, *arguments):
        run = self.run_script(*arguments)
        self.assertEqual(run.returncode, 0, run.stderr)

    def records(self, name):
        text = (self.folder / "out" / name).read_bytes().decode("utf-8")
        return [json.loads(line) for line in text.split("\n") if line]

    def toml(self, name):
        return (self.folder / "out" / name).read_text(encoding="utf-8")

    def assert_refused(self, part, *arguments):
        run = self.run_script(*arguments)
        self.assertEqual(run.returncode, 1, run.stderr)
        self.assertIn(part, run.stderr)
        self.assertEqual(run.stderr.count("\n"), 1, run.stderr)

    def test_mmlu_has_a_task_per_subject_with_its_own_examples(self):
        test, dev = [], []
        for subject in ("us_foreign_policy", "anatomy"):
            test.append(self.write(f"test/{subject}_test.csv",
                                   f'" {subject}, asked",w,x,y,z,C\n"second\nline",1,2,3,4, A \n'))
            dev.append(self.write(f"dev/{subject}_dev.csv", "".join(
                f"{subject} {i},w,x,y,z,B\n" for i in range(6))))
        self.converted("mmlu", *test, "--shots-input", *reversed(dev))
        self.assertEqual(sorted(os.listdir(self.folder / "out")), [
            "mmlu_anatomy-shots.jsonl", "mmlu_anatomy.jsonl", "mmlu_anatomy.toml",
            "mmlu_us_foreign_policy-shots.jsonl", "mmlu_us_foreign_policy.jsonl",
            "mmlu_us_foreign_policy.toml"])
        toml = self.toml("mmlu_us_foreign_policy.toml")
        for line in ('name = "mmlu_us_foreign_policy"', 'group = "mmlu"', "shots = 5",
                     'shots_data = "mmlu_us_foreign_policy-shots.jsonl"',
                     r'prompt = "The following are multiple choice questions (with answers) about '
                     r'{subject}.\n\n{shots}{question}\nAnswer:"',
                     r'shot_prompt = "{question}\nAnswer:"'):
            self.assertIn(line + "\n", toml)
        self.assertEqual(self.records("mmlu_us_foreign_policy.jsonl"), [
            {"subject": "us foreign policy",
             "question": "us_foreign_policy, asked\nA. w\nB. x\nC. y\nD. z",
             "choices": ["A", "B", "C", "D"], "answer": 2},
            {"subject": "us foreign policy", "question": "second\nline\nA. 1\nB. 2\nC. 3\nD. 4",
             "choices": ["A", "B", "C", "D"], "answer": 0}])
        for record in self.records("mmlu_us_foreign_policy-shots.jsonl"):
            self.assertEqual(record["subject"], "us foreign policy")
        self.assertTrue(self.records("mmlu_us_foreign_policy-shots.jsonl")[0]["question"].startswith(
            "us_foreign_policy 0\n"))

    def test_mmlu_without_the_examples_of_a_subject_is_refused(self):
        test = self.write("a_test.csv", "q,w,x,y,z,C\n")
        dev = self.write("b_dev.csv", "q,w,x,y,z,C\n" * 5)
        self.assert_refused("0 records for mmlu_a; 5 are needed", "mmlu", test, "--shots-input", dev)
        few = self.write("a_dev.csv", "q,w,x,y,z,C\n" * 4)
        self.assert_refused("4 records for mmlu_a", "mmlu", test, "--shots-input", few)

    def test_lines_end_at_line_feeds_alone(self):
        odd = "a\u2028b\u2029c\u0085d"
        line = json.dumps({"question": "Q", "answer": "#### 3"}, ensure_ascii=False)
        text = line.replace("Q", odd) + "\r\n\n" + line.replace("Q", "x") + "\r\n"
        self.converted("gsm8k", self.write("g.jsonl", "\ufeff" + text))
        records = self.records("gsm8k.jsonl")
        self.assertEqual([r["question"] for r in records], [odd, "x"])
        self.assertEqual(records[0]["number"], "3")

    def test_csv_with_a_byte_order_mark_and_carriage_returns(self):
        self.converted("mmlu", self.write("a_test.csv", "\ufeffq\u2028r,w,x,y,z,D\r\nq,w,x,y,z,A\r\n"))
        records = self.records("mmlu_a.jsonl")
        self.assertEqual(records[0]["question"], "q\u2028r\nA. w\nB. x\nC. y\nD. z")
        self.assertEqual([r["answer"] for r in records], [3, 0])

    def test_arc_in_both_forms_and_hellaswag(self):
        original = {"question": {"stem": "S", "choices": [{"text": "x", "label": "1"},
                                                          {"text": "y", "label": "2"}]},
                    "answerKey": "2"}
        hugging_face = {"question": "S", "choices": {"text": ["x", "y"], "label": ["A", "B"]},
                        "answerKey": "A"}
        self.converted("arc", self.write("a.jsonl", f"{json.dumps(original)}\n"
                                                    f"{json.dumps(hugging_face)}"))
        self.assertEqual(self.records("arc.jsonl"), [
            {"question": "S", "choices": ["x", "y"], "answer": 1},
            {"question": "S", "choices": ["x", "y"], "answer": 0}])
        item = {"activity_label": "L", "ctx_a": "A.", "ctx_b": "he", "label": "1",
                "endings": [" runs [x]  off.", "sits [title] here"]}
        self.converted("hellaswag", self.write("h.jsonl", json.dumps(item)))
        self.assertEqual(self.records("hellaswag.jsonl"), [
            {"query": "L: A. He", "choices": ["runs  off.", "sits. here"], "answer": 1}])

    def test_code_that_other_programs_grade(self):
        item = {"task_id": "HumanEval/0", "prompt": "def f():\n", "entry_point": "f",
                "canonical_solution": "    return 1\n", "test": "def check(f): pass"}
        packed = gzip.compress(f"{json.dumps(item)}\n".encode())
        self.converted("humaneval", self.write("HumanEval.jsonl.gz", packed))
        self.assertEqual(self.records("humaneval.jsonl"), [
            {"task_id": "HumanEval/0", "prompt": "def f():\n",
             "canonical_solution": "    return 1\n"}])
        self.assertIn(r'stop = ["\nclass", "\ndef", "\n#", "\nif", "\nprint"]',
                      self.toml("humaneval.toml"))
        self.assert_refused("HumanEval.jsonl.gz: is damaged", "humaneval",
                            self.write("HumanEval.jsonl.gz", packed[:-9]))
        original = {"task_id": 2, "text": "Add.", "code": "def add():\r\n  pass",
                    "test_list": ["assert a", "assert b"], "test_setup_code": "import x"}
        sanitized = {"task_id": 3, "prompt": "Sub.", "code": "c", "test_imports": ["import y"],
                     "test_list": ["assert c"]}
        for files in ([self.write("m.jsonl", f"{json.dumps(original)}\n{json.dumps(sanitized)}")],
                      [self.write("m.json", json.dumps([original, sanitized]))]):
            self.converted("mbpp", *files)
            self.assertEqual(self.records("mbpp.jsonl"), [
                {"task_id": 2, "text": "Add.", "tests": "assert a\nassert b",
                 "code": "def add():\n  pass", "test_list": ["assert a", "assert b"],
                 "test_setup_code": "import x"},
                {"task_id": 3, "text": "Sub.", "tests": "assert c", "code": "c",
                 "test_list": ["assert c"], "test_setup_code": "import y"}])
        self.assert_refused("m.json: element 1: is no record", "mbpp",
                            self.write("m.json", '[{"text": "t", "code": "c", "test_list": "x"}]'))
        self.assert_refused("m.json: element 2 is not a JSON object", "mbpp",
                            self.write("m.json", json.dumps([original, 3])))

    def test_mistakes_are_one_line_with_their_place(self):
        good = '{"question": "q", "answer": "1"}\n'
        for content, part in (
                (good + "{]", "g.jsonl:2: malformed JSON"),
                (good + "[1]", "g.jsonl:2: is not a JSON object"),
                (good + "\n{}", "g.jsonl:3: has no field 'question'"),
                (good + '{"question": "q", "answer": 1}', "g.jsonl:2: is no record"),
                (good + '{"question": "\\ud800", "answer": "1"}', "g.jsonl:2: is no record"),
                (good.encode() + b'{"question": "\xff"}', "g.jsonl:2: is not UTF-8"),
                ("\n", "no records")):
            self.assert_refused(part, "gsm8k", self.write("g.jsonl", content))
        self.assert_refused("none.jsonl: No such file", "gsm8k", str(self.folder / "none.jsonl"))
        self.assert_refused("a_test.csv:2: has 5 columns", "mmlu",
                            self.write("a_test.csv", "q,w,x,y,z,A\nq,w,x,y,z\n"))
        for answer in ("E", "", "AB"):
            self.assert_refused("a_test.csv:1: is no record", "mmlu",
                                self.write("a_test.csv", f"q,w,x,y,z,{answer}\n"))


if __name__ == "__main__":
    unittest.main()
