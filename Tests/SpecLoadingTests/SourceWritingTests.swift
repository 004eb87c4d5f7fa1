import Foundation
import SpecSources
import Testing

/// Files that are given other bytes: all of them or none.
struct SourceWritingTests {
    private func withFolder(_ body: (String) throws -> Void) throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("plumb-writing-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try body(folder)
    }

    private func write(_ text: String, _ path: String) throws { try Data(text.utf8).write(to: URL(fileURLWithPath: path)) }

    private func text(_ path: String) throws -> String { try String(contentsOfFile: path, encoding: .utf8) }

    private func names(_ folder: String) throws -> [String] { try FileManager.default.contentsOfDirectory(atPath: folder).sorted() }

    private func change(_ path: String, _ before: String, _ after: String) -> (path: String, before: [UInt8], after: [UInt8]) {
        (path, Array(before.utf8), Array(after.utf8))
    }

    @Test func modeOwnerAndLinksStay() throws {
        try withFolder { folder in
            try write("old", "\(folder)/a.yaml")
            try write("old", "\(folder)/b.yaml")
            try FileManager.default.setAttributes([.posixPermissions: 0o640], ofItemAtPath: "\(folder)/a.yaml")
            try FileManager.default.createSymbolicLink(atPath: "\(folder)/link.yaml", withDestinationPath: "b.yaml")
            if geteuid() == 0 { #expect(chown("\(folder)/a.yaml", 1234, 2345) == 0) }
            try rewriteSource([change("\(folder)/a.yaml", "old", "new"), change("\(folder)/link.yaml", "old", "")])
            #expect(try text("\(folder)/a.yaml") == "new" && text("\(folder)/b.yaml").isEmpty)
            var info = stat()
            #expect(stat("\(folder)/a.yaml", &info) == 0 && info.st_mode & 0o7777 == 0o640)
            if geteuid() == 0 { #expect(info.st_uid == 1234 && info.st_gid == 2345) }
            #expect(lstat("\(folder)/link.yaml", &info) == 0 && info.st_mode & S_IFMT == S_IFLNK)
            #expect(try names(folder) == ["a.yaml", "b.yaml", "link.yaml"])
        }
    }

    @Test(arguments: ["longer than before", "", "odd"])
    func aFileThatWasChangedMeanwhileStopsAll(now: String) throws {
        try withFolder { folder in
            try write("old", "\(folder)/a.yaml")
            try write(now, "\(folder)/b.yaml")
            let problem = #expect(throws: SourceProblem.self) {
                try rewriteSource([change("\(folder)/a.yaml", "old", "new"), change("\(folder)/b.yaml", "old", "new")])
            }
            #expect(problem?.path == "\(folder)/b.yaml" && problem?.message == "was changed since it was read")
            #expect(try text("\(folder)/a.yaml") == "old" && text("\(folder)/b.yaml") == now)
            #expect(try names(folder) == ["a.yaml", "b.yaml"])
        }
    }

    @Test func aFileThatIsGoneOrNoneStopsAll() throws {
        try withFolder { folder in
            try write("old", "\(folder)/a.yaml")
            try FileManager.default.createDirectory(atPath: "\(folder)/folder.yaml", withIntermediateDirectories: true)
            for other in ["missing.yaml", "folder.yaml"] {
                #expect(throws: SourceProblem.self) {
                    try rewriteSource([change("\(folder)/a.yaml", "old", "new"), change("\(folder)/\(other)", "", "new")])
                }
                #expect(try text("\(folder)/a.yaml") == "old")
                #expect(try names(folder) == ["a.yaml", "folder.yaml"])
            }
        }
    }
}
