%% What `nexus bench` shows beside Nexus: the same work in Erlang/OTP, as one line of JSON on the standard output.
%%
%%   erlc nexus_bench.erl
%%   erl +P 20000000 -noshell -s nexus_bench main ROUNDS TELLS ASKS PANICS PROCESSES
%%
%% Rates are by the second, times in nanoseconds, memory in bytes; each is the median of the rounds. Receivers do what the other
%% contestants do: take a message apart, count it in their state, answer if asked.
-module(nexus_bench).
-behaviour(supervisor).
-export([main/1, init/1, start_child/0, idle/1]).

main(Arguments) ->
    [Rounds, Tells, Asks, Panics, Processes] = [list_to_integer(atom_to_list(A)) || A <- Arguments],
    %% A report of each crash on the terminal would be all that is measured.
    logger:set_primary_config(level, none),
    Measured = [round(Tells, Asks, Panics, Processes) || _ <- lists:seq(1, Rounds)],
    Keys = [Key || {Key, _} <- hd(Measured)],
    Fields = [io_lib:format("\"~s\":~.3f", [Key, float(median([proplists:get_value(Key, R) || R <- Measured]))])
              || Key <- Keys],
    io:format("{~s}~n", [lists:join(",", Fields)]),
    halt(0).

round(Tells, Asks, Panics, Processes) ->
    [One, Many] = [apart(fun() -> tells(Tells, Targets) end) || Targets <- [1, 1000]],
    {AskP50, AskP99} = apart(fun() -> p50_p99(asks(Asks)) end),
    {RestartP50, RestartP99} = apart(fun() -> p50_p99(restarts(Panics)) end),
    {Spawns, Bytes, Hibernated} = apart(fun() -> processes(Processes) end),
    [{tell_one, One}, {tell_many, Many}, {ask_p50_ns, AskP50}, {ask_p99_ns, AskP99},
     {restart_p50_ns, RestartP50}, {restart_p99_ns, RestartP99},
     {spawns, Spawns}, {process_bytes, Bytes}, {hibernated_bytes, Hibernated}].

%% The result of Fun, called in a process whose memory goes with it.
apart(Fun) ->
    {Pid, Ref} = spawn_monitor(fun() -> exit({measured, Fun()}) end),
    receive {'DOWN', Ref, process, Pid, {measured, Result}} -> Result end.

p50_p99(Times) -> {quantile(Times, 0.5), quantile(Times, 0.99)}.

%% ---- tells ----

%% One sender; each receiver says when it has its share.
tells(Count, Targets) ->
    Self = self(),
    Share = Count div Targets,
    Pids = [spawn(fun() -> receiver(Self, Share) end) || _ <- lists:seq(1, Targets)],
    Ring = list_to_tuple(Pids),
    {Sender, Ref} = spawn_monitor(fun() -> send(Ring, Targets, Share * Targets) end),
    Started = nanos(),
    Sender ! go,
    receive {'DOWN', Ref, process, Sender, normal} -> ok end,
    [receive {handled, Pid} -> ok end || Pid <- Pids],
    Share * Targets * 1.0e9 / (nanos() - Started).

receiver(Owner, 0) -> Owner ! {handled, self()};
receiver(Owner, Left) -> receive {tell, count, _Payload} -> receiver(Owner, Left - 1) end.

send(Ring, Targets, Count) -> receive go -> send_all(Ring, Targets, Count) end.

send_all(_, _, 0) -> ok;
send_all(Ring, Targets, Left) ->
    element(Left rem Targets + 1, Ring) ! {tell, count, <<>>},
    send_all(Ring, Targets, Left - 1).

%% ---- asks ----

%% As gen_server:call does it: a monitor, whose reference is the reply's.
asks(Count) ->
    Server = spawn(fun() -> answer(0) end),
    Times = [ask(Server) || _ <- lists:seq(1, Count)],
    exit(Server, kill),
    Times.

ask(Server) ->
    Started = nanos(),
    Ref = monitor(process, Server, [{alias, reply_demonitor}]),
    Server ! {ask, Ref, <<>>},
    receive {Ref, _Answer} -> ok end,
    nanos() - Started.

answer(Handled) ->
    receive {ask, Ref, Payload} -> Ref ! {Ref, Payload}, answer(Handled + 1) end.

%% ---- restarts ----

%% A supervisor's child that crashes at every message: from the crash to the start of the next one.
restarts(Count) ->
    {ok, Supervisor} = supervisor:start_link(?MODULE, self()),
    receive {up, First, _} -> ok end,
    Times = falls(First, Count, []),
    unlink(Supervisor),
    exit(Supervisor, shutdown),
    Times.

falls(_, 0, Times) -> Times;
falls(Child, Left, Times) ->
    Child ! fall,
    Fell = receive {falling, Child, At} -> At end,
    receive {up, Next, Up} -> falls(Next, Left - 1, [Up - Fell | Times]) end.

init(Owner) ->
    persistent_term:put(?MODULE, Owner),
    Child = #{id => phoenix, start => {?MODULE, start_child, []}},
    {ok, {#{strategy => one_for_one, intensity => 1000000, period => 1}, [Child]}}.

start_child() ->
    Owner = persistent_term:get(?MODULE),
    {ok, spawn_link(fun() ->
        Owner ! {up, self(), nanos()},
        receive fall -> Owner ! {falling, self(), nanos()}, error(told_to) end
    end)}.

%% ---- memory ----

%% Processes with seven numbers of state, started and sent a message one after the other; then hibernated.
processes(Count) ->
    State = {1, 2, 3, 4, 5, 6, 7},
    Self = self(),
    [erlang:garbage_collect(Pid) || Pid <- erlang:processes()],
    Before = memory(),
    Started = nanos(),
    Pids = [begin Pid = spawn_link(?MODULE, idle, [{Self, State}]), Pid ! read, Pid end || _ <- lists:seq(1, Count)],
    [receive {read, Pid} -> ok end || Pid <- Pids],
    Spawns = Count * 1.0e9 / (nanos() - Started),
    Live = (memory() - Before) / Count,
    [Pid ! sleep || Pid <- Pids],
    [receive {asleep, Pid} -> ok end || Pid <- Pids],
    Hibernated = (memory() - Before) / Count,
    [begin unlink(Pid), exit(Pid, kill) end || Pid <- Pids],
    {Spawns, Live, Hibernated}.

%% Bytes of all processes but this one.
memory() ->
    erlang:garbage_collect(),
    {memory, Own} = process_info(self(), memory),
    erlang:memory(processes) - Own.

idle({Owner, State}) ->
    receive
        read -> Owner ! {read, self()}, idle({Owner, State});
        sleep -> Owner ! {asleep, self()}, erlang:hibernate(?MODULE, idle, [{Owner, State}])
    end.

%% ---- statistics ----

nanos() -> erlang:monotonic_time(nanosecond).

median(Values) -> quantile(Values, 0.5).

quantile(Values, Part) ->
    Sorted = lists:sort(Values),
    lists:nth(1 + round((length(Sorted) - 1) * Part), Sorted).
