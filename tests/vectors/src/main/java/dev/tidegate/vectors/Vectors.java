package dev.tidegate.vectors;

import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Duration;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.apache.flink.api.common.JobID;
import org.apache.flink.api.common.JobStatus;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.core.execution.SavepointFormatType;
import org.apache.flink.runtime.execution.ExecutionState;
import org.apache.flink.runtime.executiongraph.AccessExecutionVertex;
import org.apache.flink.runtime.jobgraph.JobGraph;
import org.apache.flink.runtime.jobgraph.SavepointRestoreSettings;
import org.apache.flink.runtime.minicluster.MiniCluster;
import org.apache.flink.runtime.minicluster.MiniClusterConfiguration;
import org.apache.flink.runtime.util.EnvironmentInformation;

/** Runs the job once for each case, takes its snapshot, and keeps the _metadata and what was asked for. */
public final class Vectors {
    private static final Path WORK = Path.of("/tmp/tidegate-vectors", EnvironmentInformation.getVersion());
    private static final Duration PATIENCE = Duration.ofSeconds(600);

    private enum Kind {
        CHECKPOINT,
        SAVEPOINT_NATIVE,
        SAVEPOINT_CANONICAL,
        STOP_NATIVE,
        STOP_CANONICAL_DRAIN
    }

    /** {@code from} names the case whose snapshot it starts on; {@code rounds} is how many checkpoints are taken. */
    private record Case(
            String what, Kind kind, int parallelism, String from, long holdMs, boolean raw, int rounds, Map<String, String> config) {}

    private static final Map<String, String> FILES = Map.of("execution.checkpointing.data-inline-threshold", "0b");
    private static final Map<String, String> HEAP = Map.of("state.backend.type", "hashmap");
    private static final Map<String, String> ROCKS = Map.of("state.backend.type", "rocksdb");
    private static final Map<String, String> INCREMENTAL = Map.of("execution.checkpointing.incremental", "true");
    private static final Map<String, String> UNALIGNED =
            Map.of(
                    "execution.checkpointing.unaligned.enabled", "true",
                    "taskmanager.memory.segment-size", "4kb",
                    "taskmanager.network.memory.floating-buffers-per-gate", "2",
                    "taskmanager.network.memory.max-overdraft-buffers-per-gate", "0");
    private static final Map<String, String> CHANGELOG =
            Map.of(
                    "state.changelog.enabled", "true",
                    "state.backend.changelog.enabled", "true",
                    "state.changelog.storage", "filesystem",
                    "state.backend.changelog.storage", "filesystem",
                    "dstl.dfs.base-path", WORK.resolve("dstl").toUri().toString(),
                    "state.changelog.periodic-materialize.interval", "500ms",
                    "state.backend.changelog.periodic-materialize.interval", "500ms");
    private static final Map<String, String> TIMED = Map.of(Job.TIMED.key(), "true");
    private static final Map<String, String> MERGING =
            Map.of("execution.checkpointing.file-merging.enabled", "true");

    private static final Map<String, Case> CASES = new LinkedHashMap<>();

    private static void add(String name, String what, Kind kind, int parallelism, String from, long holdMs, boolean raw, int rounds, Map<?, ?>... configs) {
        Map<String, String> all = new TreeMap<>();
        for (Map<?, ?> config : configs) {
            config.forEach((key, value) -> all.put((String) key, (String) value));
        }
        CASES.put(name, new Case(what, kind, parallelism, from, holdMs, raw, rounds, all));
    }

    static {
        add("heap-checkpoint", "state in files of their own", Kind.CHECKPOINT, 2, null, 0, false, 1, HEAP, FILES);
        add("heap-checkpoint-inline", "state inside _metadata", Kind.CHECKPOINT, 2, null, 0, false, 1, HEAP);
        add("heap-savepoint-native", "native", Kind.SAVEPOINT_NATIVE, 2, null, 0, false, 1, HEAP, FILES);
        add("heap-savepoint-canonical", "canonical", Kind.SAVEPOINT_CANONICAL, 2, null, 0, false, 1, HEAP, FILES);
        add("rocks-incremental", "the third, on shared files", Kind.CHECKPOINT, 2, null, 0, false, 3, ROCKS, INCREMENTAL, FILES);
        add("rocks-incremental-inline", "small files inside _metadata", Kind.CHECKPOINT, 2, null, 0, false, 2, ROCKS, INCREMENTAL);
        add("rocks-full", "full", Kind.CHECKPOINT, 2, null, 0, false, 2, ROCKS, FILES);
        add("rocks-savepoint-native", "native", Kind.SAVEPOINT_NATIVE, 2, null, 0, false, 1, ROCKS, INCREMENTAL, FILES);
        add("rocks-savepoint-canonical", "canonical", Kind.SAVEPOINT_CANONICAL, 2, null, 0, false, 1, ROCKS, INCREMENTAL, FILES);
        add("stop-native", "stopped with a native savepoint", Kind.STOP_NATIVE, 2, null, 0, false, 1, ROCKS, INCREMENTAL);
        add("stop-canonical-drain", "drained to a canonical savepoint", Kind.STOP_CANONICAL_DRAIN, 2, null, 0, false, 1, HEAP);
        add("raw-state", "raw keyed and raw operator state", Kind.CHECKPOINT, 2, null, 0, true, 1, HEAP, FILES);
        add("rocks-heap-timers", "timers as raw keyed state", Kind.CHECKPOINT, 2, null, 0, false, 1, ROCKS, FILES,
                Map.of("state.backend.rocksdb.timer-service.factory", "HEAP"));
        add("timed-rocks", "windows and timers, inside _metadata", Kind.CHECKPOINT, 2, null, 0, false, 1, ROCKS, INCREMENTAL, TIMED);
        add("timed-heap", "windows and timers, inside _metadata", Kind.CHECKPOINT, 2, null, 0, false, 1, HEAP, TIMED);
        add("timed-raw", "timers as raw keyed state, inside _metadata", Kind.CHECKPOINT, 2, null, 0, false, 1, ROCKS, TIMED,
                Map.of("state.backend.rocksdb.timer-service.factory", "HEAP"));
        add("unaligned", "records in flight", Kind.CHECKPOINT, 2, null, 5, false, 1, HEAP, UNALIGNED, FILES);
        add("unaligned-inline", "records in flight, inside _metadata", Kind.CHECKPOINT, 2, null, 5, false, 1, ROCKS, INCREMENTAL, UNALIGNED);
        add("unaligned-rescaled", "from 2 to 3 subtasks, records still in flight", Kind.CHECKPOINT, 3, "unaligned", 5, false, 1, HEAP, UNALIGNED, FILES);
        add("rescaled", "from 2 to 3 subtasks", Kind.CHECKPOINT, 3, "rocks-incremental", 0, false, 1, ROCKS, INCREMENTAL, FILES);
        add("changelog-heap", "materialized and changes since", Kind.CHECKPOINT, 2, null, 0, false, 4, HEAP, CHANGELOG, FILES);
        add("changelog-rocks", "materialized and changes since", Kind.CHECKPOINT, 2, null, 0, false, 4, ROCKS, INCREMENTAL, CHANGELOG, FILES);
        add("changelog-memory", "changes inside _metadata", Kind.CHECKPOINT, 2, null, 0, false, 1, HEAP, CHANGELOG,
                Map.of("state.changelog.storage", "memory", "state.backend.changelog.storage", "memory"));
        add("merging-heap", "file merging", Kind.CHECKPOINT, 2, null, 0, false, 2, HEAP, MERGING, FILES);
        add("merging-rocks", "file merging, over checkpoints", Kind.CHECKPOINT, 2, null, 0, true, 3, ROCKS, INCREMENTAL, MERGING, FILES,
                Map.of("execution.checkpointing.file-merging.across-checkpoint-boundary", "true"));
        add("merging-unaligned", "file merging, records in flight", Kind.CHECKPOINT, 2, null, 5, false, 1, ROCKS, INCREMENTAL, MERGING, UNALIGNED, FILES);
    }

    private Vectors() {}

    public static void main(String[] args) throws Exception {
        Path target = Path.of(args[0]);
        List<String> wanted = args.length > 1 && !args[1].isEmpty() ? List.of(args[1].split(",")) : List.copyOf(CASES.keySet());
        long begun = System.nanoTime();
        long budget = args.length > 2 && !args[2].isEmpty() ? Duration.ofSeconds(Long.parseLong(args[2])).toNanos() : Long.MAX_VALUE;
        Map<String, String> taken = new LinkedHashMap<>();
        for (String name : CASES.keySet()) {
            if (!wanted.contains(name)) {
                continue;
            }
            Case made = CASES.get(name);
            Path folder = Files.createDirectories(target.resolve(name));
            Path kept = WORK.resolve(name);
            // Made before an interruption. A snapshot that another case starts on must still be there itself.
            boolean basis = CASES.values().stream().anyMatch(other -> name.equals(other.from));
            if (Files.exists(folder.resolve("case.json")) && (!basis || Files.exists(kept.resolve("location")))) {
                if (basis) {
                    taken.put(name, Files.readString(kept.resolve("location")));
                }
                continue;
            }
            if (System.nanoTime() - begun > budget) {
                System.out.println("left " + name);
                continue;
            }
            long start = System.nanoTime();
            deleteAll(kept);
            Files.deleteIfExists(folder.resolve("case.json"));
            Files.deleteIfExists(folder.resolve("oracle.json"));
            String location = run(name, made, taken);
            taken.put(name, location);
            Files.writeString(kept.resolve("location"), location);
            Path metadata = Path.of(java.net.URI.create(location)).resolve("_metadata");
            Files.copy(metadata, folder.resolve("_metadata"), StandardCopyOption.REPLACE_EXISTING);
            Files.writeString(folder.resolve("case.json"), describe(made, location) + "\n");
            long seconds = Duration.ofNanos(System.nanoTime() - start).toSeconds();
            System.out.println(name + " " + location + " " + Files.size(metadata) + " bytes, " + seconds + " s");
        }
        System.exit(0); // Flink's threads would go on.
    }

    private static String describe(Case made, String location) {
        Map<String, Object> said = new TreeMap<>();
        said.put("flink", EnvironmentInformation.getVersion());
        said.put("what", made.what);
        said.put("kind", made.kind.name());
        said.put("parallelism", made.parallelism);
        said.put("from", made.from);
        said.put("config", made.config);
        said.put("location", location);
        return Oracle.json(said);
    }

    private static String run(String name, Case made, Map<String, String> taken) throws Exception {
        Path dir = WORK.resolve(name);
        Configuration config = new Configuration();
        Map<String, String> base = new TreeMap<>();
        base.put("execution.checkpointing.interval", "10min");
        base.put("execution.checkpointing.dir", dir.resolve("checkpoints").toUri().toString());
        base.put("execution.checkpointing.storage", "filesystem");
        base.put("execution.checkpointing.externalized-checkpoint-retention", "RETAIN_ON_CANCELLATION");
        base.put("execution.checkpointing.incremental", "false");
        base.put("execution.checkpointing.num-retained", "10");
        base.put("taskmanager.memory.managed.size", "48m");
        base.put("taskmanager.memory.network.min", "24m");
        base.put("taskmanager.memory.network.max", "24m");
        base.put("rest.bind-port", "0");
        base.putAll(made.config);
        base.forEach(config::setString);
        MiniClusterConfiguration cluster =
                new MiniClusterConfiguration.Builder()
                        .setConfiguration(config)
                        .setNumTaskManagers(1)
                        .setNumSlotsPerTaskManager(4)
                        .build();
        Job.SEEN.set(0);
        Job.holdMs = 0;
        try (MiniCluster mini = new MiniCluster(cluster)) {
            mini.start();
            double rate = made.holdMs > 0 ? 20_000 : 400;
            JobGraph graph = Job.graph(config, made.parallelism, rate, dir.resolve("out").toUri().toString(), made.raw);
            if (made.from != null) {
                graph.setSavepointRestoreSettings(SavepointRestoreSettings.forPath(taken.get(made.from)));
            }
            JobID id = mini.submitJob(graph).get(600, TimeUnit.SECONDS).getJobID();
            await(name + ": tasks run", () -> running(mini, id, false));
            if (made.from == null) {
                // A source that has come to its end waits for one more checkpoint before its tasks are finished.
                takeOrRetry(name, mini, id, Kind.CHECKPOINT, "");
                await(name + ": the rules end", () -> running(mini, id, true));
            }
            Job.holdMs = made.holdMs; // Only now: under back pressure the source that ends would take long to.
            String location = null;
            int rounds = made.rounds;
            for (int round = 0; round < rounds; round++) {
                long seen = Job.SEEN.get();
                await(name + ": records", () -> Job.SEEN.get() >= seen + 40);
                location = takeOrRetry(name, mini, id, made.kind, dir.resolve("savepoints").toUri().toString());
                if (made.holdMs > 0 && !Oracle.inFlight(Path.of(java.net.URI.create(location)).resolve("_metadata"))) {
                    rounds = Math.min(rounds + 1, made.rounds + 50); // The channels had not filled up yet.
                }
            }
            Job.holdMs = 0;
            if (made.kind != Kind.STOP_NATIVE && made.kind != Kind.STOP_CANONICAL_DRAIN) {
                mini.cancelJob(id).get(600, TimeUnit.SECONDS);
            }
            await(name + ": the end", () -> mini.getJobStatus(id).get().isGloballyTerminalState());
            return location;
        }
    }

    /** A checkpoint is declined while a task recovers its records in flight, though the job says that all run. */
    private static String takeOrRetry(String name, MiniCluster mini, JobID id, Kind kind, String dir) throws Exception {
        String[] location = new String[1];
        Exception[] last = new Exception[1];
        try {
            await(name + ": a snapshot", () -> {
                try {
                    location[0] = take(mini, id, kind, dir);
                    return true;
                } catch (ExecutionException declined) {
                    last[0] = declined;
                    return false;
                }
            });
        } catch (IllegalStateException inVain) {
            var failure = mini.getExecutionGraph(id).get().getFailureInfo();
            throw new IllegalStateException(
                    failure == null ? "the job has not failed" : failure.getExceptionAsString(), last[0]);
        }
        return location[0];
    }

    private static String take(MiniCluster mini, JobID id, Kind kind, String dir) throws Exception {
        CompletableFuture<String> location = switch (kind) {
            case CHECKPOINT -> mini.triggerCheckpoint(id);
            case SAVEPOINT_NATIVE -> mini.triggerSavepoint(id, dir, false, SavepointFormatType.NATIVE);
            case SAVEPOINT_CANONICAL -> mini.triggerSavepoint(id, dir, false, SavepointFormatType.CANONICAL);
            case STOP_NATIVE -> mini.stopWithSavepoint(id, dir, false, SavepointFormatType.NATIVE);
            case STOP_CANONICAL_DRAIN -> mini.stopWithSavepoint(id, dir, true, SavepointFormatType.CANONICAL);
        };
        return location.get(600, TimeUnit.SECONDS);
    }

    private static boolean running(MiniCluster mini, JobID id, boolean oneFinished) throws Exception {
        if (mini.getJobStatus(id).get() == JobStatus.FAILED) {
            throw new IllegalStateException(
                    "the job failed: " + mini.getExecutionGraph(id).get().getFailureInfo().getExceptionAsString());
        }
        int finished = 0;
        for (AccessExecutionVertex vertex : mini.getExecutionGraph(id).get().getAllExecutionVertices()) {
            if (vertex.getExecutionState() == ExecutionState.FINISHED) {
                finished++;
            } else if (vertex.getExecutionState() != ExecutionState.RUNNING) {
                return false;
            }
        }
        return finished > 0 || !oneFinished;
    }

    private static void await(String what, Callable<Boolean> condition) throws Exception {
        long end = System.nanoTime() + PATIENCE.toNanos();
        while (!condition.call()) {
            if (System.nanoTime() > end) {
                throw new IllegalStateException("waited in vain for " + what);
            }
            Thread.sleep(50);
        }
    }

    private static void deleteAll(Path path) throws Exception {
        if (Files.exists(path)) {
            try (Stream<Path> all = Files.walk(path)) {
                for (Path each : all.sorted(Comparator.reverseOrder()).toList()) {
                    Files.delete(each);
                }
            }
        }
    }
}
