import Foundation
import HostKinds
import ResourceModel
import Testing

struct HostKindsTests {
    private static let root = KindCase.folder.deletingLastPathComponent().deletingLastPathComponent()

    @Test func everyFolderIsListedAndHasAnExample() throws {
        let sources = Self.root.appendingPathComponent("Sources/Kinds/HostKinds")
        let folders = try FileManager.default.contentsOfDirectory(atPath: sources.path).filter { !$0.hasSuffix(".swift") }
        #expect(folders.sorted() == HostKinds.all.map(\.name).sorted())
        for name in folders {
            for part in ["", "+Probe", "+Steps"] where !(name == "OperatingSystem" && part == "+Steps") {
                #expect(FileManager.default.fileExists(atPath: sources.appendingPathComponent("\(name)/\(name)\(part).swift").path))
            }
            let folder = name.reduce(into: "") { $0 += $1.isUppercase ? ($0.isEmpty ? "" : "-") + $1.lowercased() : String($1) }
            for file in ["README.md", "spec.yaml"] {
                let text = try String(contentsOf: Self.root.appendingPathComponent("examples/\(folder)/\(file)"), encoding: .utf8)
                #expect(text.contains(name))
            }
        }
    }

    @Test func sectionsHaveDistinctNames() {
        let names = (HostKinds.baseProbe + HostKinds.all.flatMap(\.probe)).map(\.name)
        #expect(Set(names).count == names.count)
        #expect(HostKinds.probe.map(\.name) == names)
    }

    /// Every word that a shell would run must be one that reads. A script that grows another command has to be looked at here.
    @Test(arguments: HostKinds.probe.map(\.name))
    func probeOnlyReads(name: String) throws {
        let script = try #require(HostKinds.probe.first { $0.name == name }).script
        let readers: Set<String> = [
            "cat", "command", "echo", "getconf", "grep", "id", "ip", "printf", "sed", "uname", "zcat", "[", "exit",
            "iptables-nft-save", "iptables-legacy-save", "iptables-save", "ip6tables-nft-save", "ip6tables-legacy-save", "ip6tables-save",
        ]
        let keywords: Set<String> = ["if", "then", "elif", "else", "fi", "for", "do", "done", "case", "esac", "in", "!"]
        // Nothing is written: no redirection but to /dev/null and between the standard streams.
        let redirections = script.replacing(">/dev/null", with: "").replacing("2>&1", with: "").replacing("2 ", with: "")
        #expect(!redirections.contains(">"), "\(script)")
        #expect(!script.contains("`") && !script.contains("eval") && !script.contains("sed -i"))
        for word in commands(in: script) where !keywords.contains(word) {
            #expect(readers.contains(word), "'\(word)' in \(name)")
        }
        if name == "links" { #expect(script == "LC_ALL=C ip -j -d addr show") }
    }

    @Test(arguments: ["sh", "dash", "bash"])
    func probeIsShell(shell: String) throws {
        for section in HostKinds.probe {
            let result = try Shell.run([shell, "-n"], input: section.script)
            #expect(result.status == 0 && result.errorOutput.isEmpty, "\(section.name): \(result.errorOutput)")
        }
    }

    /// The words that stand where a command does: at the beginning, and after what ends or opens a command.
    private func commands(in script: String) -> [String] {
        var words: [String] = []
        // Quoted text is no command, except what stands in `$(…)`.
        var text = script.replacing(/'[^']*'/, with: "X").replacing("\\\n", with: " ")
        text = text.replacing("$(", with: "\n").replacing(/"/, with: "")
        for line in text.split(whereSeparator: { "\n;|&()".contains($0) }) {
            var rest = line.split(separator: " ").map(String.init)
            while let first = rest.first {
                let isKeyword = ["if", "then", "elif", "else", "do", "in", "!"].contains(first)
                if isKeyword || first == "$SUDO" || first.contains(/^[A-Za-z_]+=/) { rest.removeFirst() } else { break }
            }
            guard let first = rest.first, !["for", "case", "esac", "fi", "done", "X"].contains(first) else { continue }
            // A pattern of `case`, which its `)` ends.
            if first.contains(/^([*]|[*][a-z_]+[*]|aarch64|arm64|x86_64)$/) { continue }
            // What is left of `$(…)` after its end, and of `2>&1`.
            if first.contains(/^([0-9]|failed|\$[a-z]+|>.*|2>.*)$/) { continue }
            words.append(first)
        }
        return words
    }
}

/// Runs a command and waits for it.
enum Shell {
    struct Result {
        var status: Int32
        var output: String
        var errorOutput: String
    }

    static func run(_ arguments: [String], input: String = "", environment: [String: String] = [:]) throws -> Result {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("plumb-test-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        // Files, not pipes: nothing can block, however much is printed.
        let files = try ["in", "out", "err"].map { name in
            let file = folder.appendingPathComponent(name)
            try Data((name == "in" ? input : "").utf8).write(to: file)
            return file
        }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = arguments
        process.environment = ["PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"].merging(environment) { $1 }
        process.standardInput = try FileHandle(forReadingFrom: files[0])
        process.standardOutput = try FileHandle(forWritingTo: files[1])
        process.standardError = try FileHandle(forWritingTo: files[2])
        try process.run()
        process.waitUntilExit()
        let text = { (file: URL) in String(decoding: try Data(contentsOf: file), as: UTF8.self) }
        return Result(status: process.terminationStatus, output: try text(files[1]), errorOutput: try text(files[2]))
    }
}
