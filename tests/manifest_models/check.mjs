// Judges Kubernetes objects: a JSON list on standard input; on standard output, for each, the list of what is wrong.
//
// Twice, for neither sees everything: the schema's validator takes any property that it does not know, and the types
// say nothing of lengths and patterns.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const PACKAGES = {
  "gateway.envoyproxy.io": "envoy-gateway",
  "gateway.networking.k8s.io": "gateway-api",
  "monitoring.coreos.com": "prometheus-operator",
  "networking.istio.io": "istio",
  "security.istio.io": "istio",
};

/** The module that knows the object's kind. */
function moduleOf({ apiVersion }) {
  const group = String(apiVersion).split("/")[0];
  return PACKAGES[group] && `@kubernetes-models/${PACKAGES[group]}/${apiVersion}`;
}

/** What the schema says. */
async function bySchema(object) {
  const name = moduleOf(object);
  const Model = name && (await import(name).catch(() => ({})))[object.kind];
  if (!Model) return [`no schema of ${object.apiVersion} ${object.kind}`];
  try {
    new Model(object).validate();
    return [];
  } catch (error) {
    return [error.message];
  }
}

/** What the types say of all objects, the unknown properties among it: each is a constant of its kind's type. */
function byTypes(objects) {
  const file = fileURLToPath(new URL("objects.ts", import.meta.url));
  const lines = objects.map(
    (one, at) => `const o${at}: import("${moduleOf(one)}").I${one.kind} = ${JSON.stringify(one)};`,
  );
  const options = {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    noErrorTruncation: true,
    types: [],
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
  };
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile, getSourceFile } = host;
  const text = `export {};\n${lines.join("\n")}\n`;
  host.fileExists = (name) => name === file || fileExists.call(host, name);
  host.readFile = (name) => (name === file ? text : readFile.call(host, name));
  host.getSourceFile = (name, version, ...rest) =>
    name === file ? ts.createSourceFile(name, text, version) : getSourceFile.call(host, name, version, ...rest);
  const found = objects.map(() => []);
  for (const one of ts.getPreEmitDiagnostics(ts.createProgram([file], options, host))) {
    const message = ts.flattenDiagnosticMessageText(one.messageText, " ");
    // What is wrong elsewhere is wrong with all of them.
    const line = one.file?.fileName === file ? one.file.getLineAndCharacterOfPosition(one.start).line - 1 : -1;
    (found[line] ? [found[line]] : found).forEach((each) => each.push(message));
  }
  return found;
}

const objects = JSON.parse(readFileSync(0, "utf8"));
const types = byTypes(objects);
const judged = await Promise.all(objects.map(async (one, at) => [...(await bySchema(one)), ...types[at]]));
process.stdout.write(JSON.stringify(judged));
