"""Break the code on purpose, one line at a time, and name the test that notices.

Run by `make mutants`. A mutant that no test kills means that the tests are blind to something that users rely on.
"""

# ruff: noqa: E501 (a mutant a line)
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Mutant:
    """One change: in `file`, `old` (which occurs once) becomes `new`; `suspects` are the tests to run first."""

    name: str
    file: str
    old: str
    new: str
    suspects: str


MUTANTS = [
    Mutant("sign of the gap", "relative", "value.index_select(0, plus) - value.index_select(0, minus)", "value.index_select(0, minus) - value.index_select(0, plus)", "relative"),
    Mutant("sign of the hinge", "regularizer", "(self.margin - position)", "(self.margin + position)", "regularizer"),
    Mutant("kernel's width", "kernels", "distances.clamp(min=0) / 2", "distances.clamp(min=0)", "kernels"),
    Mutant("unbiased correction", "dependence/exact", "found += totals[pairs.left] * totals[pairs.right] / ((m - 1) * (m - 2))", "pass", "dependence"),
    Mutant("unbiased denominator", "dependence/exact", "(found / (m * (m - 3)))", "(found / (m * m))", "dependence"),
    Mutant("diagonal kept", "dependence/exact", "        torch.diagonal(tile, rows.start, 1, 2).zero_()\n        return tile", "        return tile", "dependence"),
    Mutant("standard error halved", "dependence/engine", "2 * (m - 2) / ((m - 1)", "(m - 2) / ((m - 1)", "relative"),
    Mutant("normalised error lacks the denominator", "dependence/engine", "self.value[:, None] / 2 *", "0 *", "dependence"),
    Mutant("exact exponent", "dependence/exact", "square_().div_(-2)", "square_().div_(-1)", "dependence"),
    Mutant("exact gradient's sign", "dependence/exact", "gradient.double() * (2 /", "gradient.double() * (-2 /", "dependence"),
    Mutant("exact gradient forgets the centring", "dependence/exact", "owner.centre(other, owner.sums, rows, weights).mul_(tile)", "other.mul_(tile)", "dependence"),
    Mutant("low-rank bias of all groups", "dependence/moments", "self.beta, alpha=-a)", "self.beta, alpha=-a * (m - 1) / m)", "dependence"),
    Mutant("low-rank bias of pairs", "dependence/moments", "- a * (sides.beta[0]", "- a * (m - 1) / m * (sides.beta[0]", "dependence"),
    Mutant("low-rank gradient of one side of pairs", "dependence/lowrank", "by_cross.transpose(1, 2) @ left)", "by_cross @ left)", "dependence"),
    Mutant("a symmetric product forgets to mirror", "dependence/moments", "result[start:stop, stop:].T", "0", "dependence"),
    Mutant("integers and halves of devices pass", "relative", "        self._check_place(batch)\n", "", "messages"),
    Mutant("a loop's half precision reaches the kernel", "relative", "scalars.device.type, enabled=False", "scalars.device.type, enabled=torch.is_autocast_enabled('cpu'), dtype=torch.bfloat16", "regularizer"),
    Mutant("the penalty is asked at every step", "training/loop", " and state.step % self.every == 0", "", "training"),
    Mutant("low-rank gradient through the mean", "dependence/lowrank", "        back += shift\n", "", "dependence"),
    Mutant("low-rank gradient of one side", "dependence/moments", "return total + total.T", "return 2 * total", "dependence"),
    Mutant("low-rank rows forget d e", "dependence/lowrank", "q[part] -= d[g] * d[h]", "q[part] -= 0 * d[g] * d[h]", "dependence"),
    Mutant("merging forgets the shift of means", "dependence/moments", " + outer * (self.rows", " + 0 * outer * (self.rows", "dependence"),
    Mutant("aliases too near", "kernels", "step = 2 * math.pi / (width + reach)", "step = 2 * math.pi / (width + reach / 2)", "kernels"),
    Mutant("basis cut too short", "kernels", "(left_out > tolerance / 4)", "(left_out > tolerance * 400)", "kernels"),
    Mutant("range too narrow", "kernels", "step = math.ceil(math.log(", "step = math.floor(math.log(", "kernels"),
    Mutant("squeezed too hard", "dependence/engine", "clamp(max=reach)", "clamp(max=reach / 5)", "dependence"),
    Mutant("values of two paths mixed up", "dependence/engine", "torch.cat(list(values))[self._order]", "torch.cat(list(values))", "dependence"),
    Mutant("standard errors never taken anew", "regularizer", "self._calls % self.refresh == 0", "False", "regularizer"),
    Mutant("median of all rows, ties and all", "kernels", "positive = distances[distances > 0]", "positive = distances", "kernels"),
    Mutant("bandwidth of the batch without gradient", "kernels", "(factor * x.var(0).sum(-1))", "(factor * x.detach().var(0).sum(-1))", "relative"),
    Mutant("fixed bandwidths ignored", "relative", "if self.bandwidths is None:", "if True:", "relative"),
    Mutant("p-value of the converse", "relative", "ndtr(-self", "ndtr(self", "relative"),
    Mutant("sum in place of mean", "regularizer", "confidence / confidence.sum()", "confidence", "regularizer"),
    Mutant("confidence ignored", "regularizer", "[relation.confidence for", "[1.0 for", "regularizer"),
    Mutant("chain of the ends only", "relations/knowledge", "pairwise(sides)", "[(sides[0], sides[-1])]", "relations"),
    Mutant("overlap allowed", "relations/relation", "if name in right", "if False", "messages"),
    Mutant("question taken for an answer", "relations/grammar", "if \"?\" in marks:", "if False:", "messages"),
    Mutant("turned order read straight", "relations/grammar", "tuple(reversed(sides) if \"<\" in marks else sides)", "tuple(sides)", "relations"),
    Mutant("chain of both directions", "relations/grammar", "and turned in marks:", "and False:", "messages"),
    Mutant("lone mark written bare", "relations/grammar", " and name not in _LONE_MARKS", "", "relations"),
    Mutant("open brace ends with its line", "relations/grammar", "(in_braces or (last.kind", "((last.kind", "relations"),
    Mutant("unclosed brace swallows the file", "relations/grammar", "in_braces = token.text == \"{\" if token.kind == \"mark\" and token.text != \",\" else in_braces", "in_braces |= token.text == \"{\"", "relations"),
    Mutant("empty line read over", "relations/grammar", " and not lines[self.stop].empty)", ")", "messages"),
    Mutant("reasons of later lines lost", "relations/grammar", "for line in lines[start : self.stop] if line.reason", "for line in lines[start : start + 1] if line.reason", "relations"),
    Mutant("rest of a faulty statement not read", "relations/grammar", "at = max(at + 1, fault.line - 1)", "at = statement.stop", "messages"),
    Mutant("fault told again for its rest", "relations/grammar", "if fault.line > told:", "if True:", "messages"),
    Mutant("near misses of groups not seen", "relations/errors", "[*features, *groups]", "[*features]", "messages"),
    Mutant("pairs with a direction", "relations/logic", "numbers.setdefault(frozenset((ref, side)), len(numbers))", "numbers.setdefault((ref, side), len(numbers))", "logic"),
    Mutant("groups with an order", "relations/logic", "(frozenset(names) for names in relation.groups)", "(frozenset([\" \".join(names)]) for names in relation.groups)", "logic"),
    Mutant("less sure repeat kept", "relations/logic", "relations[index].confidence > relations[rival].confidence", "relations[index].confidence < relations[rival].confidence", "logic"),
    Mutant("circle not the shortest", "relations/logic", "if circle := self._circle(pair, knot, limit):", "if limit == math.inf and (circle := self._circle(pair, knot, limit)):", "logic"),
    Mutant("knots joined", "relations/logic", "for pair in closing:\n            limit", "for pair in closing[:1]:\n            limit", "logic"),
    Mutant("circle begins anywhere", "relations/logic", "circle[first:] + circle[:first]", "circle", "logic"),
    Mutant("surer statement taken for redundant", "relations/logic", "roundabout[below][0] >= self.relations[index].confidence", "roundabout[below][0] > 0", "logic"),
    Mutant("statement follows from itself", "relations/logic", "if pair != source and (other", "if (other", "logic"),
    Mutant("way as sure as its surest step", "relations/logic", "(min(sureness, self", "(max(min(sureness, 1), self", "logic"),
    Mutant("overlapping sides implied", "relations/logic", "if plus.isdisjoint(minus) else None", "", "logic"),
    Mutant("knowledge follows from contradictions", "relations/logic", "if circles := graph.circles():", "if circles := []:", "logic"),
    Mutant("confidence of rows lost", "relations/records", "float(confidence), reason)", "1.0, reason)", "relations"),
    Mutant("misspelt column passed over", "relations/records", "if name not in row and", "if False and", "messages"),
    Mutant("faults of later rows not told", "relations/records", "faults += [f\"row {label}", "faults = faults or [f\"row {label}", "messages"),
    Mutant("check exits 0", "cli/statements", "context.exit(1 if contradictions else 0)", "context.exit(0)", "cli"),
    Mutant("verdicts swapped", "audit/testing", "if contradicted[i]\n", "if holds[i]\n", "audit"),
    Mutant("no correction for multiplicity", "audit/testing", "level / np.arange(len(pvalues), 0, -1)", "level", "audit"),
    Mutant("rows with holes kept", "audit/testing", "present = ~np.isnan(table.rows)", "present = ~np.isnan(0 * table.rows) | True", "audit"),
    Mutant("jackknife left out", "audit/testing", "    if m < FEW_ROWS:\n        # The", "    if False:\n        # The", "audit"),
    Mutant("order of rows ignored", "audit/testing", "max(block, block_length(table.rows))", "block", "audit"),
    Mutant("nothing is certain", "audit/testing", ">= CERTAIN *", ">= 1e9 *", "audit"),
    Mutant("half-samples of everything", "audit/numbers", "rows = np.flatnonzero(chosen)", "rows = np.arange(len(chosen))", "audit"),
    Mutant("levels of unequal distance", "audit/numbers", "np.sqrt(np.nanvar(measure, axis=0).sum())", "np.sqrt(np.nanvar(measure, axis=0))", "audit"),
    Mutant("a missing level is a level", "audit/numbers", "indicators[codes < 0] = np.nan", "indicators[codes < 0] = 0", "audit"),
    Mutant("raw gaps judge alone", "audit/testing", "    contradicted &= found[\"normalized_gap\"] < 0\n", "", "audit"),
    Mutant("what is contradicted is trained", "synthesizer/knowing", "if not out]", "]", "synthesizer"),
    Mutant("what follows is trained twice", "synthesizer/knowing", "Knowledge(tuple(kept)).reduction()", "Knowledge(tuple(kept))", "synthesizer"),
    Mutant("the worth of an answer forgets its error", "ask", "worth = error * (", "worth = (", "ask"),
    Mutant("errors of questions as if sides were independent", "ask", " - 2 * covariance[np.ix_(at, at)]", "", "ask"),
    Mutant("decided comparisons are asked", "ask", "& (z < OPEN)", "", "ask"),
    Mutant("one feature gets all questions", "ask", "all(asked[key] < per_feature for key in keys)", "True", "ask"),
    Mutant("a resumed fit forgets its random numbers", "training/checkpoint", "        torch.set_rng_state(tensors[\"random.global\"])\n", "", "training"),
    Mutant("a resumed fit forgets the optimizer", "training/checkpoint", "{\"state\": moments}", "{}", "training"),
    Mutant("a resumed fit forgets its seeds", "training/checkpoint", "        self.generator.set_state(tensors[\"random.seeds\"])\n", "", "training"),
    Mutant("a resumed fit forgets the best", "training/checkpoint", ", part(\"kept.\")", ", part(\"module.model.\")", "training"),
    Mutant("a regularizer forgets its errors", "regularizer", "self._error = state[2:] if len(state) > 2 else None", "self._error = None", "training"),
    Mutant("a checkpoint of other statements will do", "training/checkpoint", "for part in (model, penalty)", "for part in (model,)", "training"),
    Mutant("any checkpoint will do", "training/checkpoint", "if header.get(\"purpose\") != self.purpose:", "if False:", "training"),
    Mutant("a killed fit repeats what had ended", "training/loop", "stays=keep_checkpoint and not interrupted", "stays=False", "synthesizer"),
    Mutant("checkpoints are left behind", "synthesizer/synthesizer", "        fitting.forget(self, len(X), first)\n", "", "synthesizer"),
    Mutant("Ctrl-C keeps the last in place of the best", "training/loop", "            interrupted = True\n        for", "            interrupted = True\n            kept = model.state_dict()\n        for", "training"),
    Mutant("no checksum", "archive", "if digest != _digest(text, tensors):", "if False:", "archive"),
    Mutant("blocks forgotten", "dependence/engine", "blocks[start : start + spread.shape[1]]", "blocks[: spread.shape[1]]", "dependence"),
    Mutant("samples of a penalty stay in single precision", "training/pushing", "            with autocast():\n                samples", "            if True:\n                samples", "training"),
    Mutant("patience counts epochs on long tables too", "training/loop", "        patience = min(patience, max(PATIENT_EPOCHS, math.ceil(PATIENT_STEPS / len(loader))))\n", "", "training"),
    Mutant("a GPU is seeded once it is in use", "training/loop", "seeded(random_state + fold, fabric.device)", "seeded(random_state + fold)", "training"),
    Mutant("a ratio below 0 passes", "training/pushing", "0 < ratio < float", "-1 < ratio < float", "messages"),
    Mutant("all rows are scored at once", "synthesizer/synthesizer", ".split(SCORED)", ".split(10**9)", "synthesizer"),
    Mutant("harm is kept", "synthesizer/fitting", "synthesizer.model_, synthesizer.dropout_, synthesizer.harm_ = copy.deepcopy(plain.model_), plain", "_, synthesizer.dropout_, synthesizer.harm_ = None, plain", "synthesizer"),
    Mutant("gain is taken for harm", "synthesizer/knowing", "not informed.mean() >= plain.mean()", "not informed.mean() <= plain.mean()", "synthesizer"),
    Mutant("harm is judged on rows of training", "synthesizer/synthesizer", "        _, stops = training", "        stops, _ = training", "synthesizer"),
    Mutant("an interrupted fit begins the next", "synthesizer/fitting", "interrupted=True))\n            return True", "interrupted=True))", "synthesizer"),
    Mutant("an interrupted fit is judged on other rows", "synthesizer/fitting", "join(models[:least])", "join(models)", "synthesizer"),
    Mutant("others' checkpoints are deleted", "synthesizer/fitting", "[: len(shares)]", "", "synthesizer"),
    Mutant("an interrupted choice goes on to the knowledge", "synthesizer/fitting", "        if stopped:\n            synthesizer.histories_", "        if False:\n            synthesizer.histories_", "synthesizer"),
    Mutant("the worse dropout is kept", "synthesizer/fitting", "(model, X).mean() >", "(model, X).mean() <", "synthesizer"),
    Mutant("half a choice is taken for a whole", "synthesizer/fitting", "not stopped and ", "", "synthesizer"),
    Mutant("knowledge has no dropout", "synthesizer/fitting", "shares = [plain.dropout_]", "shares = [0.0]", "synthesizer"),
    Mutant("a restored model forgets its dropout", "synthesizer/saving", "header.get(\"dropout\", 0.0)", "0.0", "synthesizer"),
    Mutant("a decoder without dropout", "models/vae", "activation(dropout), nn.Linear(hidden, n_features)", "activation(0), nn.Linear(hidden, n_features)", "models"),
    Mutant("an encoder without dropout", "models/latent", "activation(dropout), nn", "activation(0), nn", "models"),
    Mutant("the worth is of knowledge and another dropout", "worth", "            fitted.set_params(dropout=chosen[split])\n", "            pass\n", "worth"),
    Mutant("a file of two entries in random order", "archive", "{FORMAT: f\"{_digest(text, whole)} {text}\"}", "{FORMAT: f\"{_digest(text, whole)} {text}\", \"x\": \"\"}", "archive"),
    Mutant("penalty climbs", "training/pushing", "parameter.grad + scale * grad", "parameter.grad - scale * grad", "training"),
    Mutant("penalty moves the model's random numbers", "training/pushing", "    with seeded(int(torch.randint(2**62, (), generator=seeds))):", "    if True:", "contract"),
    Mutant("the noise goes on from the last epoch", "training/loop", "                model.load_state_dict(kept)\n", "", "training"),
    Mutant("not the noise alone is trained on", "training/loop", "each.requires_grad_(False)", "pass", "training"),
    Mutant("a model stays frozen after its noise was trained on", "training/loop", "each.requires_grad_(True)", "pass", "training"),
    Mutant("no patience for the noise", "training/loop", "max(state.best_epoch, state.began)", "state.best_epoch", "training"),
    Mutant("the VAE keeps its noise to itself", "models/vae", "def noise_parameters", "def parameters_of_noise", "models"),
    Mutant("worst epoch kept", "training/loop", "if state.losses[-1] < state.best:", "if state.losses[-1] > state.best or state.epoch == 0:", "training"),
    Mutant("validation rows trained on", "training/loop", "torch.cat([order[:start], order[stop:]])", "order", "training"),
    Mutant("rows that stop a later fold are trained on", "training/loop", "order[stop:]]), order", "order[start if fold else stop :]]), order", "training"),
    Mutant("all folds are stopped by the same rows", "synthesizer/mixing", "            fold=fold,\n", "", "synthesizer"),
    Mutant("long tables are trained four times", "synthesizer/mixing", ", FOLDED // rows)", ")", "synthesizer"),
    Mutant("the first of a mixture answers alone", "models/mixture", "found.logsumexp(0) - math.log(len(found))", "found[0]", "models"),
    Mutant("samples of a mixture come model by model", "models/mixture", "[torch.cat(places).argsort()]", "", "models"),
    Mutant("more models than rows allow pass", "synthesizer/checks", "folds is None or 1 <= folds <= most", "folds is None or 1 <= folds", "messages"),
    Mutant("the best ratio of all sets is hindsight enough", "../../experiments/tables", "wide.mean()[names].max(axis=1)", "wide.mean()[wide.mean()[names].mean().idxmax()]", "gain"),
    Mutant("noise left out of samples", "models/latent", "(torch.Size([n]))).rsample()", "(torch.Size([n]))).mean", "contract"),
    Mutant("divergence left out", "models/vae", "(self.divergence(posterior) - self", "(0 * self.divergence(posterior) - self", "contract"),
    Mutant("proposal left out of the likelihood", "models/latent", ".log_prob(x) - proposal)", ".log_prob(x))", "contract"),
    Mutant("the encoder alone proposes latents", "models/latent", "parts = [posterior, wide, self.prior().expand(posterior.batch_shape)]", "parts = [posterior]", "models"),
    Mutant("attached statements are pushed as far as the trainer's", "adapters/push", "data=data, margin=MARGIN)", "data=data)", "adapters"),
    Mutant("tails are not learned", "models/vae", "2 + self.log_df.clamp(max=10).exp()", "2 + self.log_df.detach().exp()", "models"),
    Mutant("rows with holes are a ruler", "kernels", "    if not rows.isfinite().all():", "    if False:", "messages"),
    Mutant("early stopping watches the loss alone", "training/loop", '"validation_loss" if', '"loss" if', "models"),
    Mutant("critic trained by the generator's loss", "models/critic", "name: each.detach()", "name: each", "models"),
    Mutant("generator trained by the critic's loss", "models/critic", "torch.cat([x, samples]).detach()", "torch.cat([x, samples])", "models"),
    Mutant("generator helps the critic", "models/critic", "frozen(self, x) - frozen(self, samples)", "frozen(self, samples) - frozen(self, x)", "models"),
    Mutant("energy within samples added", "models/gan", ".mean() - within", ".mean() + within", "models"),
    Mutant("critic not felt", "models/vaegan", "self.weight * judged", "0 * judged", "models"),
    Mutant("process unsure of what it saw", "models/gplvm", "- solved.square().sum(1).T", "- 0 * solved.square().sum(1).T", "models"),
    Mutant("rows remembered twice", "models/gplvm", "(x[:, None] == known).all(2).any(1)", "torch.zeros(len(x), dtype=torch.bool)", "models"),
    Mutant("volume of the linear map", "models/flow", "- self.log_diagonal.sum()", "+ self.log_diagonal.sum()", "contract"),
    Mutant("path runs backwards", "models/flowmatching", "(1 - t) * start + t * end", "t * start + (1 - t) * end", "contract"),
    Mutant("divergence turned round", "models/flowmatching", "change - step", "change + step", "contract"),
    Mutant("rounding decides a verdict", "audit/testing", "np.maximum(error, ROUND_OFF)", "np.maximum(error, 1e-300)", "audit"),
    Mutant("rounding decides the published test", "relative", "max(ROUND_OFF, torch.finfo(self.gap.dtype).eps)", "torch.finfo(self.gap.dtype).tiny", "audit"),
    Mutant("a report keeps what statements are worth to itself", "report", "        worth=worth,\n", "", "report"),
    Mutant("models swapped in the report", "report", "(table, plain.sample(draws), fit.sample(draws))", "(table, fit.sample(draws), plain.sample(draws))", "report"),
    Mutant("half a file left behind", "files", "        yield scratch\n", "        os.replace(scratch, path)\n        yield path\n", "messages"),
    Mutant("derived by the converse ratio", "derive/distances", "row[i] >= ratio * row[near]", "row[i] * ratio >= row[near]", "derive"),
    Mutant("the farthest in place of the closest", "derive/distances", "(i for i in enough if", "(i for i in enough[::-1] if", "derive"),
    Mutant("derived without end", "derive/distances", "islice(_choices(row, order, ratio), per_feature)", "_choices(row, order, ratio)", "derive"),
    Mutant("rounding decides ties", "derive/distances", "_TIE = 1e-9", "_TIE = 0.0", "derive"),
    Mutant("order of rows decides ties", "derive/distances", "np.lexsort((rank, row))", "np.argsort(row, kind='stable')", "derive"),
    Mutant("one place beats all ratios", "derive/distances", "np.maximum(matrix, values[0]))]", "np.maximum(matrix, values[0]))] * (matrix > 0)", "derive"),
    Mutant("no path is far away", "derive/distances", " and np.isfinite(row[i])", "", "derive"),
    Mutant("one-way edges", "derive/sources", "    ways = nx.Graph()", "    ways = nx.DiGraph()", "derive"),
    Mutant("the last of parallel edges", "derive/sources", ' or cost < ways[str(one)][str(other)]["cost"]', " or True", "derive"),
    Mutant("degrees as a plane", "derive/sources", "np.cos(north) * np.cos(east)", "np.cos(east)", "derive"),
    Mutant("levels without those above", "derive/sources", "p[:level] if len(p)", "p[level - 1] if len(p)", "derive"),
    Mutant("names read as numbers", "derive/files", "dtype=str, keep_default_na=False", "", "derive"),
    Mutant("entities expand", "derive/files", "    parser.EntityDeclHandler = refuse\n", "", "messages"),
    Mutant("contradiction exits 0", "cli/statements", "context.exit(1 if found", "context.exit(0 if found", "cli"),
    Mutant("flags cut in the middle", "synthesizer/shapes", "self.cut = -float(ndtri(share))", "self.cut = (0.5 - share) / self.deviation", "columns"),
    Mutant("a bend without its slope", "synthesizer/kinds", "slope -= math.log(self.bend[1]) + bent", "slope -= math.log(self.bend[1]) + 0 * bent", "columns"),
    Mutant("likelihood in the model's units", "synthesizer/synthesizer", " + self.columns_.log_slope(rows)", "", "synthesizer"),
    Mutant("codes are invented", "synthesizer/kinds", "np.array(self.values)[np.searchsorted(self.cuts, z[:, 0])]", "z[:, 0] * self.scale + self.mean", "columns"),
    Mutant("cuts of codes in the middle", "synthesizer/kinds", "norm.ppf(np.cumsum(counts)[:-1] / len(x)).clip", "((z[:-1] + z[1:]) / 2).clip", "columns"),
    Mutant("a spike is no flag", "synthesizer/kinds", "find_spike(x), x", "None, x", "columns"),
    Mutant("nothing is bent", "synthesizer/kinds", "bend = find_bend(rest)", "bend = None", "columns"),
    Mutant("whole numbers out of range", "synthesizer/kinds", "if self.whole or self.bend is not None:", "if self.bend is not None:", "columns"),
    Mutant("rare levels are named alike", "synthesizer/kinds", "group[0] if len(group) == 1 else random.choice(group, rows.sum(), p=counts / counts.sum())", "group[0]", "columns"),
    Mutant("levels scaled apart", "synthesizer/kinds", "(shares * (1 - shares)).sum().sqrt()", "(shares * (1 - shares)).sqrt()", "columns"),
    Mutant("a regularizer sees bent columns", "synthesizer/kinds", "return (x - self.own_mean) / self.own_scale", "return z[:, :1]", "columns"),
    Mutant("holes are never made", "synthesizer/columns", "return np.asarray(Flag(self.missing).score(z[:, -1]) > 0)", "return np.zeros(len(z), dtype=bool)", "columns"),
    Mutant("new categories pass", "synthesizer/columns", "and (x < 0).any():", "and False:", "columns"),
    Mutant("names of rows are modelled", "synthesizer/storage", "2 * count > len(present)", "count > len(present)", "columns"),
    Mutant("dates lose their step", "synthesizer/storage", "step = int(np.gcd.reduce(_between(ticks, base))) if len(ticks) else 1", "step = 1", "columns"),
    Mutant("wide numbers wrap", "synthesizer/storage", "min(self.base + self.step * int(each), self.top)", "self.base + self.step * int(each)", "columns"),
    Mutant("an expanded relation loses its confidence", "audit/numbers", "Relation(ref, plus, minus, relation.confidence, relation.reason)", "Relation(ref, plus, minus)", "columns"),
    Mutant("conditions ignored", "synthesizer/conditions", "rows[_mask(rows, where)]", "rows", "columns"),
    Mutant("conditions fall short", "synthesizer/conditions", "    if count < n:\n", "    if not count:\n", "columns"),
    Mutant("a push moves global random numbers", "adapters/push", "np.random.set_state(before[0])", "pass", "adapters"),
    Mutant("buffers stay as a draw left them", "adapters/push", "buffer.copy_(before)", "pass", "adapters"),
    Mutant("a scaler's scale is forgotten", "adapters/push", "own = self._used * scale * grad", "own = self._used * grad", "adapters"),
    Mutant("the scale counts as the loss's", "adapters/push", "relative_weight(pushed) / scale", "relative_weight(pushed)", "adapters"),
    Mutant("new numbers at each evaluation", "adapters/push", "        if not again:\n            self._seed", "        if True:\n            self._seed", "libraries"),
    Mutant("steps of others are counted", "adapters/push", "self._steps.get(id(optimizer), 0)", "sum(self._steps.values())", "adapters"),
    Mutant("gradients of processes are summed", "adapters/push", "for grad in whole]) / _ranks()", "for grad in whole])", "libraries"),
    Mutant("all processes draw alike", "adapters/push", "forked(self._seed + _rank())", "forked(self._seed)", "libraries"),
    Mutant("a step without gradient is moved", "adapters/push", "if all(parameter.grad is None for parameter in moved):", "if False:", "adapters"),
    Mutant("a closure returns the loss alone", "adapters/attaching", "loss + last.weight * last.penalty", "loss", "adapters"),
    Mutant("the hook stays", "adapters/attaching", "        handle.remove()", "        pass", "adapters"),
    Mutant("silence where nothing was pushed", "adapters/attaching", "    check_fired(push.history)\n", "", "adapters"),
    Mutant("Lightning draws anew within a step", "adapters/lightning", "again=self._last is not None", "again=False", "libraries"),
    Mutant("Pyro is not attached", "adapters/pyro", "    svi.loss_and_grads = loss_and_grads\n", "", "libraries"),
    Mutant("a GP-LVM without noise", "adapters/gpytorch", "predicted = self.likelihood(self.model(self.latents(n)))", "predicted = self.model(self.latents(n))", "libraries"),
    Mutant("the energy test is blind across", "adapters/checking", "@ vectors / values.clamp", "/ values.mean().clamp", "adapters"),
]  # fmt: skip


def kill(mutant: Mutant) -> str | None:
    """Return the first test that fails on a copy of the code with this mutant, or None."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("src", "tests", "docs", "experiments"):
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        for part in ("pyproject.toml", "README.md"):
            shutil.copy(ROOT / part, folder / part)
        path = folder / "src" / "moreso" / f"{mutant.file}.py"
        path.write_text(path.read_text().replace(mutant.old, mutant.new))
        environment = os.environ | {"PYTHONPATH": str(folder / "src")}
        for tests in ([f"tests/test_{mutant.suspects}.py"], ["tests", "--deselect", "tests/test_mutants.py"]):
            command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", *tests]
            run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
            if found := re.search(r"^(?:FAILED|ERROR) (\S+)", run.stdout, re.MULTILINE):
                return found[1]
            if run.returncode != 0:
                raise RuntimeError(f"{mutant.name}: pytest ended with {run.returncode}\n{run.stdout}\n{run.stderr}")
    return None


def main() -> int:
    """Try all mutants, print a line each, and return how many survived."""
    survivors = 0
    with ThreadPoolExecutor(2) as pool:
        for mutant, killer in zip(MUTANTS, pool.map(kill, MUTANTS), strict=True):
            print(f"{mutant.name:45} {killer or 'SURVIVED'}", flush=True)
            survivors += killer is None
    print(f"{len(MUTANTS) - survivors} of {len(MUTANTS)} mutants killed")
    return survivors


if __name__ == "__main__":
    sys.exit(main())
